// freshet gc against a fake daemon.
#include <gtest/gtest.h>

#include "proto/api.pb.h"
#include "tests/unit/cli/program.h"

namespace freshet::cli::test {
namespace {

class Gc : public Program {};

TEST_F(Gc, CollectsOrSaysWhatItWould) {
  v1::GcResponse plan;
  auto* goes = plan.add_items();
  goes->set_digest(std::string(64, 'a'));
  goes->set_type("model");
  goes->set_bytes(2048);
  goes->add_versions("flights/1");
  goes->set_goes(true);
  goes->set_reason("flights/1: not one of the newest 2");
  plan.set_going(1);
  plan.set_going_bytes(2048);
  plan.set_kept(3);
  plan.set_kept_bytes(4096);
  daemon_.on("GET /api/v1/gc", plan);
  auto ended = run({"gc", "--dry-run"});
  EXPECT_EQ(ended.out,
            "ARTIFACT       TYPE    SIZE      VERSIONS    GOES   REASON\n"
            "aaaaaaaaaaaa   model   2.0 KiB   flights/1   yes    flights/1: not one of the newest 2\n"
            "1 artifacts would go, 2.0 KiB; 3 stay, 4.0 KiB\n")
      << ended.err;
  EXPECT_EQ(daemon_.asked().size(), 1u);
  EXPECT_EQ(last_asked().query, "");
  EXPECT_EQ(run({"gc", "--dry-run", "--verbose"}).code, 0);
  EXPECT_EQ(last_asked().query, "all=true");
  plan.clear_kept();
  plan.set_stray_files(2);
  plan.set_stray_bytes(1024);
  plan.set_unfinished(true);
  daemon_.on("POST /api/v1/gc", plan);
  ended = run({"gc", "--reason", "room for the new season"});
  EXPECT_TRUE(
      ended.out.ends_with("1 artifacts went, 2.0 KiB\n2 files without an artifact went, 1.0 KiB\n"
                          "there is more; `freshet gc` again goes on\n"))
      << ended.out;
  EXPECT_EQ(last_asked().body, R"({"reason":"room for the new season"})");
}

}  // namespace
}  // namespace freshet::cli::test
