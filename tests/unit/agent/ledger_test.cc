#include "agent/epoch_ledger.h"

#include "proto/frame.h"
#include "tests/unit/agent/support.h"

namespace freshet::agent {
namespace {

using ::testing::HasSubstr;

class LedgerTest : public ::testing::Test {
 protected:
  static v1::AcceptedEpoch epoch(const std::string& step, uint64_t number, const std::string& gang, uint64_t term = 1) {
    v1::AcceptedEpoch epoch;
    epoch.set_term(term);
    epoch.mutable_work()->set_step(step);
    epoch.set_epoch(number);
    epoch.set_gang_id(gang);
    return epoch;
  }
  std::unique_ptr<EpochLedger> open(size_t kept_max = 100) { return must(EpochLedger::open(path_, kept_max)); }

  TempDir dir_;
  fs::path path_ = dir_.path() / "epochs";
};

TEST_F(LedgerTest, PromisesHoldAndSurvive) {
  {
    auto ledger = open();
    must(ledger->accept(epoch("train", 3, "g3")));
    must(ledger->accept(epoch("train", 3, "g3")));
    EXPECT_EQ(ledger->accept(epoch("train", 2, "g2")).code(), Code::kConflict);
    EXPECT_EQ(ledger->accept(epoch("train", 3, "other")).code(), Code::kConflict);
    must(ledger->accept(epoch("evaluate", 1, "e1")));
    must(ledger->accept_term(9));
  }
  auto ledger = open();
  EXPECT_EQ(ledger->highest_term(), 9u);
  EXPECT_EQ(ledger->accept_term(8).code(), Code::kConflict);
  EXPECT_EQ(ledger->accept(epoch("train", 4, "g4", 8)).code(), Code::kConflict);
  EXPECT_EQ(ledger->accept(epoch("train", 2, "g2", 9)).code(), Code::kConflict);
  must(ledger->check(epoch("train", 0, "").work(), 3, "g3"));
  EXPECT_FALSE(ledger->check(epoch("train", 0, "").work(), 3, "other").is_ok());
  EXPECT_THAT(ledger->check(epoch("unknown", 0, "").work(), 1, "g").message(), HasSubstr("was not prepared"));
  must(ledger->accept(epoch("train", 4, "g4", 10)));
  EXPECT_EQ(ledger->highest_term(), 10u);
}

TEST_F(LedgerTest, AnEpochThatIsOverIsNotLaunchedAgain) {
  const v1::WorkRef work = epoch("train", 0, "").work();
  {
    auto ledger = open();
    must(ledger->accept(epoch("train", 3, "g3")));
    must(ledger->finish(work, 2));  // long passed
    must(ledger->check(work, 3, "g3"));
    must(ledger->finish(work, 3));
    EXPECT_THAT(ledger->check(work, 3, "g3").message(), HasSubstr("epoch 3 of the same work is over"));
  }
  auto ledger = open();
  EXPECT_EQ(ledger->check(work, 3, "g3").code(), Code::kConflict);
  EXPECT_EQ(ledger->accept(epoch("train", 3, "g3")).code(), Code::kConflict);
  must(ledger->accept(epoch("train", 4, "g4")));
  must(ledger->finish(work, 3));  // of the one before
  must(ledger->check(work, 4, "g4"));
}

TEST_F(LedgerTest, ATornEndIsDropped) {
  must(open()->accept(epoch("train", 3, "g3")));
  const std::string whole = text_of(path_);
  const std::string frame = encode_frame(epoch("train", 4, "g4"));
  for (size_t length = 1; length < frame.size(); ++length) {
    write_text(path_, whole + frame.substr(0, length));
    auto ledger = open();
    must(ledger->check(epoch("train", 0, "").work(), 3, "g3"));
    must(ledger->accept(epoch("train", 5, "g5")));
    must(open()->check(epoch("train", 0, "").work(), 5, "g5"));
    fs::remove(path_);
  }
}

TEST_F(LedgerTest, CompactionKeepsTheNewestWork) {
  {
    auto ledger = open();
    for (int i = 0; i < 10; ++i) must(ledger->accept(epoch("step-" + std::to_string(i), 1, "g")));
    must(ledger->accept(epoch("step-0", 2, "g")));  // the oldest work has become the newest
  }
  const auto size = fs::file_size(path_);
  auto ledger = open(3);
  EXPECT_LT(fs::file_size(path_), size);
  for (const auto& [step, number] : {std::pair("step-8", 1), std::pair("step-9", 1), std::pair("step-0", 2)}) {
    must(ledger->check(epoch(step, 0, "").work(), static_cast<uint64_t>(number), "g"));
  }
  EXPECT_FALSE(ledger->check(epoch("step-7", 0, "").work(), 1, "g").is_ok());
}

}  // namespace
}  // namespace freshet::agent
