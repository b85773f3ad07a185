// store_fixture DIRECTORY SOURCE_ROOT: writes a store of today's build with a record of every kind and every field set,
// and beside it records.tsv with what later builds must read: key, message, JSON. scripts/store_fixture packs both.
#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <cstdio>
#include <memory>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "base/file.h"
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

namespace freshet {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

constexpr int kDepth = 5;

class FixtureClock final : public Clock {
 public:
  Time now() const override { return Time{1'767'225'600'000'000}; }
  Time monotonic() const override { return Time{0}; }
};

// Every field gets a value of its own; of a oneof the first. Messages end at a depth, since some hold themselves.
class Filler {
 public:
  void fill(Message* message, int depth = kDepth) {
    std::set<const google::protobuf::OneofDescriptor*> taken;
    for (int i = 0; i < message->GetDescriptor()->field_count(); ++i) {
      const FieldDescriptor* field = message->GetDescriptor()->field(i);
      const auto* choice = field->containing_oneof();
      if (choice != nullptr && !taken.insert(choice).second) continue;
      if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE && depth == 0) continue;
      set(message, field, depth);
    }
  }

 private:
  template <class Value>
  static void put(Message* message, const FieldDescriptor* field, Value value,
                  void (Reflection::*single)(Message*, const FieldDescriptor*, Value) const,
                  void (Reflection::*repeated)(Message*, const FieldDescriptor*, Value) const) {
    (message->GetReflection()->*(field->is_repeated() ? repeated : single))(message, field, value);
  }

  void set(Message* message, const FieldDescriptor* field, int depth) {
    const Reflection* reflection = message->GetReflection();
    const int number = ++count_;
    switch (field->cpp_type()) {
      case FieldDescriptor::CPPTYPE_INT32:
        return put<int32_t>(message, field, number, &Reflection::SetInt32, &Reflection::AddInt32);
      case FieldDescriptor::CPPTYPE_INT64:
        return put<int64_t>(message, field, number, &Reflection::SetInt64, &Reflection::AddInt64);
      case FieldDescriptor::CPPTYPE_UINT32:
        return put<uint32_t>(message, field, static_cast<uint32_t>(number), &Reflection::SetUInt32,
                             &Reflection::AddUInt32);
      case FieldDescriptor::CPPTYPE_UINT64:
        return put<uint64_t>(message, field, static_cast<uint64_t>(number), &Reflection::SetUInt64,
                             &Reflection::AddUInt64);
      case FieldDescriptor::CPPTYPE_DOUBLE:
        return put<double>(message, field, number + 0.5, &Reflection::SetDouble, &Reflection::AddDouble);
      case FieldDescriptor::CPPTYPE_FLOAT:
        return put<float>(message, field, static_cast<float>(number) + 0.5F, &Reflection::SetFloat,
                          &Reflection::AddFloat);
      case FieldDescriptor::CPPTYPE_BOOL:
        return put<bool>(message, field, true, &Reflection::SetBool, &Reflection::AddBool);
      case FieldDescriptor::CPPTYPE_ENUM: {
        const int value = field->enum_type()->value(field->enum_type()->value_count() - 1)->number();
        return put<int>(message, field, value, &Reflection::SetEnumValue, &Reflection::AddEnumValue);
      }
      case FieldDescriptor::CPPTYPE_STRING: {
        std::string text = field->name() + " " + std::to_string(number);
        if (field->is_repeated()) return reflection->AddString(message, field, std::move(text));
        return reflection->SetString(message, field, std::move(text));
      }
      case FieldDescriptor::CPPTYPE_MESSAGE:
        return fill(
            field->is_repeated() ? reflection->AddMessage(message, field) : reflection->MutableMessage(message, field),
            depth - 1);
    }
  }

  int count_ = 0;
};

struct Item {
  std::string key;
  std::unique_ptr<Message> message;  // null: a reference
};

template <class T>
Item item(std::string key) {
  return {std::move(key), std::make_unique<T>()};
}
Item reference(std::string key) { return {std::move(key), nullptr}; }

// One of each kind. A kind that is new since belongs here before the next fixture is made.
std::vector<Item> items() {
  const std::string digest(64, 'a');
  const std::string id(32, 'b');
  v1::WorkRef work;
  work.set_project("default");
  work.set_run_id(id);
  work.set_step("fit");
  std::vector<Item> all;
  all.push_back(item<v1::PipelineRecord>(keys::pipeline("default", "p")));
  all.push_back(item<v1::PipelineRecord>(keys::pipeline_version("default", "p", 1)));
  all.push_back(item<v1::PipelineCode>(keys::pipeline_code("default", "p")));
  all.push_back(item<v1::SourceRecord>(keys::source("default", "s")));
  all.push_back(item<v1::SourceStatus>(keys::source_status("default", "s")));
  all.push_back(item<v1::TriggerRecord>(keys::trigger("default", "t")));
  all.push_back(item<v1::TriggerState>(keys::trigger_state("default", "t")));
  all.push_back(item<v1::DatasetVersion>(keys::dataset("default", digest)));
  all.push_back(item<v1::EntryRecord>(keys::entry("default", "p", "i", "file:///a b", digest)));
  all.push_back(item<v1::Counter>(keys::entry_counter("default", "p", "i")));
  all.push_back(item<v1::Inspection>(keys::inspection("default", id)));
  all.push_back(reference(keys::pending_inspection("default", id)));
  all.push_back(item<v1::Run>(keys::run("default", id)));
  all.push_back(reference(keys::run_by_time("default", Time{5}, id)));
  all.push_back(reference(keys::run_by_pipeline("default", "p", Time{5}, id)));
  all.push_back(reference(keys::run_by_state("default", "QUEUED", Time{5}, id)));
  all.push_back(reference(keys::run_by_pipeline_state("default", "p", "QUEUED", Time{5}, id)));
  all.push_back(reference(keys::due_run("default", id)));
  all.push_back(reference(keys::ready_step(1, 2, Time{5}, "default", id, "fit")));
  all.push_back(item<v1::Attempt>(keys::attempt(work, 1)));
  all.push_back(item<v1::AttemptSpec>(keys::attempt_spec(work, 1)));
  all.push_back(reference(keys::active_attempt(work, 1)));
  all.push_back(item<v1::MetricHistory>(keys::metric_chunk("default", id, 1)));
  all.push_back(item<v1::MetricHistory>(keys::latest_metrics("default", id)));
  all.push_back(item<v1::NodeRecord>(keys::node("n")));
  all.push_back(reference(keys::gang("g")));
  all.push_back(item<v1::Counter>(keys::journal_position("g")));
  all.push_back(item<v1::Counter>(keys::metrics_position("g")));
  all.push_back(item<v1::ArtifactRecord>(keys::artifact(digest)));
  all.push_back(item<v1::ArtifactUse>(keys::artifact_use(digest)));
  all.push_back(item<v1::ArtifactRecord>(keys::collected_artifact(digest)));
  all.push_back(item<v1::GcRoundRecord>(keys::gc_round()));
  all.push_back(item<v1::Model>(keys::model("default", "m")));
  all.push_back(item<v1::ModelVersion>(keys::model_version("default", "m", 1)));
  all.push_back(item<v1::Alias>(keys::alias("default", "m", "champion")));
  all.push_back(item<v1::AliasMove>(keys::alias_move("default", "m", "champion", 7)));
  all.push_back(item<v1::Event>(keys::outbox_event(7, 1)));
  all.push_back(item<v1::WebhookRecord>(keys::webhook("default", "w")));
  all.push_back(item<v1::WebhookState>(keys::webhook_state("default", "w")));
  all.push_back(item<v1::DeadLetter>(keys::dead_letter("default", "w", "e")));
  all.push_back(reference(keys::redelivery("default", "w", "e")));
  all.push_back(item<v1::KeptAnswer>(keys::kept_answer("admin", "k")));
  all.push_back(reference(keys::answer_by_time(Time{5}, "admin", "k")));
  all.push_back(item<v1::Counter>(keys::counter("pipeline")));
  all.push_back(item<v1::DaemonTerm>(keys::daemon_term()));
  return all;
}

std::string kind_of(const std::string& key) { return key.substr(0, key.find('/')); }

bool is_unaudited(const std::string& kind) {
  return kind == "metric" || kind == "latest_metrics" || kind == "metrics_position" || kind == "journal_position";
}

// A kind that keys.cc can make and this file does not write.
Status check_kinds(const std::vector<Item>& all, const std::string& source_root) {
  std::set<std::string> written = {"audit", "meta"};
  for (const Item& one : all) written.insert(kind_of(one.key));
  ASSIGN_OR_RETURN(std::string text, read_file(source_root + "/daemon/store/keys.cc"));
  static const std::regex kKind("(?:join|prefix)\\(\"([a-z_]+)\"");
  for (std::sregex_iterator match(text.begin(), text.end(), kKind), end; match != end; ++match) {
    if (written.contains((*match)[1])) continue;
    return not_found("records of the kind '" + std::string((*match)[1]) + "' are missing in store_fixture.cc");
  }
  return Status::ok();
}

Status write_fixture(const std::string& directory, const std::string& source_root) {
  std::vector<Item> all = items();
  RETURN_IF_ERROR(check_kinds(all, source_root));
  FixtureClock clock;
  Filler filler;
  std::string expected;
  std::unique_ptr<RocksKv> kv;
  for (size_t i = 0; i < all.size(); ++i) {
    if (i == 0 || i == all.size() / 2) {
      // Opening anew writes what is there into a table, so that there are a table and a log.
      kv.reset();
      ASSIGN_OR_RETURN(kv, RocksKv::open({.data_directory = directory + "/store", .ballast_bytes = 0}));
    }
    Writer store(*kv, clock);
    Item& one = all[i];
    Change change;
    change.actor = "fixture";
    change.action = "write " + one.key;
    change.audited = !is_unaudited(kind_of(one.key));
    if (one.message == nullptr) {
      put_reference(change, one.key, "target of " + one.key);
      expected += one.key + "\t-\ttarget of " + one.key + "\n";
    } else {
      filler.fill(one.message.get());
      put(change, one.key, *one.message);
      expected += one.key + "\t" + one.message->GetDescriptor()->full_name() + "\t" + to_json(*one.message) + "\n";
    }
    RETURN_IF_ERROR(store.commit(std::move(change)).status());
  }
  return write_file_durably(directory + "/records.tsv", expected);
}

}  // namespace
}  // namespace freshet

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: store_fixture DIRECTORY SOURCE_ROOT\n");
    return 2;
  }
  const freshet::Status status = freshet::write_fixture(argv[1], argv[2]);
  if (status.is_ok()) return 0;
  std::fprintf(stderr, "store_fixture: %s\n", status.message().c_str());
  return 1;
}
