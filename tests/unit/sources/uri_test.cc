#include "daemon/sources/uri.h"

#include "tests/unit/sources/support.h"

namespace freshet {
namespace {

TEST(Uri, paths) {
  EXPECT_EQ(must(path_of_uri("file:///data/in")), "/data/in");
  EXPECT_EQ(must(path_of_uri("file:///data/in%20box%2f")), "/data/in box/");
  EXPECT_EQ(must(path_of_uri("/data/100%")), "/data/100%");
  for (const char* bad :
       {"", "data", "file://host/data", "s3://bucket", "file:///a%2", "file:///a%zz", "file:///a%00"}) {
    EXPECT_EQ(path_of_uri(bad).status().code(), Code::kInvalidArgument) << bad;
  }
}

TEST(Uri, entry_names) {
  EXPECT_TRUE(is_entry_name("a.parquet", ""));
  EXPECT_TRUE(is_entry_name("a.parquet", "*.parquet"));
  EXPECT_FALSE(is_entry_name("a.csv", "*.parquet"));
  EXPECT_TRUE(is_entry_name("2001-01-07.csv", "2001-0[12]-*"));
  for (const char* never : {".hidden", "_SUCCESS", "a.tmp", "a.parquet.part"}) EXPECT_FALSE(is_entry_name(never, "*"));
}

}  // namespace
}  // namespace freshet
