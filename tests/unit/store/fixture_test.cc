// Stores that former builds wrote (tests/data/store, made by scripts/store_fixture) open, say what they said, and go
// on.
#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <cstdlib>
#include <fstream>
#include <set>

#include "daemon/store/audit.h"
#include "daemon/store/keys.h"
#include "daemon/store/rocks_kv.h"
#include "daemon/store/tables.h"
#include "daemon/store/writer.h"
#include "proto/artifact.pb.h"
#include "proto/attempt.pb.h"
#include "proto/dataset.pb.h"
#include "proto/json.h"
#include "proto/model.pb.h"
#include "proto/record.pb.h"
#include "proto/run.pb.h"
#include "proto/webhook.pb.h"
#include "tests/paths.h"
#include "tests/unit/store/support.h"

namespace freshet {
namespace {

namespace fs = std::filesystem;
using google::protobuf::DescriptorPool;
using google::protobuf::MessageFactory;

std::vector<fs::path> fixtures() {
  std::vector<fs::path> found;
  for (const auto& item : fs::directory_iterator(FRESHET_TEST_DATA "/store")) found.push_back(item.path());
  std::sort(found.begin(), found.end());
  return found;
}

class StoreOf : public testing::TestWithParam<fs::path> {
 protected:
  void SetUp() override {
    const std::string command = "tar -xzf " + GetParam().string() + " -C " + directory_.path().string();
    ASSERT_EQ(std::system(command.c_str()), 0);
  }
  std::unique_ptr<RocksKv> open() {
    return must(RocksKv::open({.data_directory = directory_.path() / "store", .ballast_bytes = 0}));
  }

  TempDir directory_;
  SystemClock clock_;
};

// The JSON of a record as today's messages read it; "?" for a message that is gone.
std::string read_as(const std::string& type, const std::string& payload) {
  if (type == "-") return payload;
  // Files of the schema that nobody here names would be left out by the linker, and their messages be unknown.
  static const google::protobuf::Descriptor* const kLinked[] = {
      v1::Model::descriptor(),   v1::Event::descriptor(),          v1::Run::descriptor(),
      v1::Attempt::descriptor(), v1::ArtifactRecord::descriptor(), v1::DatasetVersion::descriptor()};
  CHECK(kLinked[0] != nullptr);
  const auto* descriptor = DescriptorPool::generated_pool()->FindMessageTypeByName(type);
  if (descriptor == nullptr) return "?";
  std::unique_ptr<google::protobuf::Message> message(
      MessageFactory::generated_factory()->GetPrototype(descriptor)->New());
  must(parse(type, payload, *message));
  return to_json(*message);
}

TEST_P(StoreOf, former_builds_is_read_and_written) {
  size_t records = 0;
  std::set<std::string> keys_read;
  {
    auto kv = open();
    Writer store(*kv, clock_);
    auto snapshot = store.snapshot();
    must(verify_audit(*snapshot));
    std::ifstream lines(directory_.path() / "records.tsv");
    for (std::string line; std::getline(lines, line); ++records) {
      const size_t first = line.find('\t');
      const size_t second = line.find('\t', first + 1);
      const std::string key = line.substr(0, first);
      auto stored = must(snapshot->get(key));
      ASSERT_TRUE(stored) << key;
      EXPECT_EQ(read_as(line.substr(first + 1, second - first - 1), stored->payload), line.substr(second + 1)) << key;
      keys_read.insert(key);
    }
    EXPECT_GE(records, 32u);
    for (const KeyValue& item : must(snapshot->scan(""))) {
      EXPECT_TRUE(keys_read.contains(item.key) || keys::is_reserved(item.key)) << item.key;
    }
    Change change;
    change.action = "go on";
    change.writes.push_back({"new", "value"});
    EXPECT_EQ(must(store.commit(std::move(change))).revision, snapshot->revision() + 1);
  }
  auto kv = open();
  Writer store(*kv, clock_);
  must(verify_audit(*store.snapshot()));
  EXPECT_TRUE(must(store.snapshot()->get("new")));
}

INSTANTIATE_TEST_SUITE_P(Fixtures, StoreOf, testing::ValuesIn(fixtures()), [](const auto& one) {
  std::string name = one.param.filename().string();
  name = name.substr(0, name.find('.'));
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace freshet
