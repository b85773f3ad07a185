#include "proto/digest.h"

#include <gtest/gtest.h>

namespace freshet {
namespace {

v1::DatasetVersion dataset(const std::vector<std::string>& uris) {
  v1::DatasetVersion version;
  for (const auto& uri : uris) {
    auto* entry = version.add_entries();
    entry->set_uri(uri);
    entry->set_size(uri.size());
    entry->set_sha256(std::string(64, 'a'));
  }
  return version;
}

// These two are stored for ever: a change of the value is a change of every digest in every store.
TEST(Digest, OfADatasetIsWhatItAlwaysWas) {
  EXPECT_EQ(dataset_digest(dataset({"day=1.parquet", "day=2.parquet"})),
            "72ce37299d494de5a0e9ede0df477e39ecd58a97ee40340ef917b106dc22a37e");
}

TEST(Digest, OfAMessageIsWhatItAlwaysWas) {
  v1::DatasetEntry entry;
  entry.set_uri("a");
  // printf '{"uri":"a"}' | sha256sum
  EXPECT_EQ(message_digest(entry), "220b70c0059d5a0ca4a6b1e1828f0a79d1a94d5e5bade69515b906f1c83a2ac6");
}

TEST(Digest, OfADatasetIsOverItsEntriesAlone) {
  v1::DatasetVersion one = dataset({"b", "a"});
  v1::DatasetVersion other = dataset({"a", "b"});
  other.set_source_uri("file:///elsewhere");
  other.set_created_us(12);
  other.set_rows(3);
  EXPECT_EQ(dataset_digest(one), dataset_digest(other));
  other.mutable_entries(0)->set_sha256(std::string(64, 'b'));
  EXPECT_NE(dataset_digest(one), dataset_digest(other));
}

}  // namespace
}  // namespace freshet
