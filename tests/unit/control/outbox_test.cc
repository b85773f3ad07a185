// The outbox over a memory store and a sender that answers as the test says.
#include "daemon/control/outbox.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "daemon/control/outbox_reconciler.h"
#include "daemon/store/keys.h"
#include "proto/json.h"
#include "tests/unit/api/control_plane.h"

namespace freshet::control {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class HeldSender final : public WebhookSender {
 public:
  void send(WebhookDelivery delivery) override { sent.push_back(std::move(delivery)); }
  std::vector<WebhookOutcome> take_outcomes() override { return std::exchange(outcomes, {}); }

  // Answers the newest delivery.
  void accept() { outcomes.push_back({sent.back().ticket, 200, "", Duration::millis(1)}); }
  void refuse() { outcomes.push_back({sent.back().ticket, 500, "it answered 500", Duration::millis(1)}); }

  std::vector<WebhookDelivery> sent;
  std::vector<WebhookOutcome> outcomes;
};

class OutboxTest : public testing::Test {
 protected:
  void apply(const std::string& spec, const std::string& name = "w") {
    v1::ApplyRequest request;
    ASSERT_TRUE(
        from_json(R"({"webhooks": [{"metadata": {"name": ")" + name + R"("}, "spec": )" + spec + "}]}", &request)
            .is_ok());
    auto applied = plane_.pipelines.apply(caller_, request, false);
    ASSERT_TRUE(applied.is_ok()) << applied.status().to_string();
  }
  // A commit with one event; gives its id.
  std::string happen(const std::string& type, const std::string& pipeline = "p") {
    v1::Event event;
    event.set_type(type);
    event.set_project("default");
    event.set_pipeline(pipeline);
    Change change;
    change.actor = "test";
    add_event(plane_.context, &change, &event);
    EXPECT_TRUE(plane_.context.commit(std::move(change)).is_ok());
    return event.id();
  }
  Time look(Duration later = Duration()) { return outbox_.reconcile(begin_ + later); }
  v1::WebhookState state(const std::string& name = "w") {
    return get<v1::WebhookState>(*plane_.store.snapshot(), keys::webhook_state("default", name)).value()->value;
  }
  size_t pending() { return list_references(*plane_.store.snapshot(), keys::outbox()).value().size(); }
  std::vector<std::string> sent() {
    std::vector<std::string> ids;
    for (const auto& delivery : sender_.sent) ids.push_back(delivery.event_id);
    return ids;
  }
  std::vector<v1::DeadLetter> dead() {
    auto page = plane_.webhooks.list_dead_letters("default", "", {});
    EXPECT_TRUE(page.is_ok());
    return {page->dead_letters().begin(), page->dead_letters().end()};
  }

  const Caller caller_{"admin"};
  test::ControlPlane plane_;
  const Time begin_ = plane_.clock.now();
  HeldSender sender_;
  OutboxReconciler outbox_{plane_.context, sender_};
};

constexpr char kPlain[] = R"({"url": "https://example.org/"})";

TEST_F(OutboxTest, DeliversOneAfterAnotherInTheOrderOfTheCommits) {
  happen(kRunFinished);  // before there was a webhook
  apply(kPlain);
  const std::string first = happen(kAliasMoved), second = happen(kRunFinished);
  look();
  EXPECT_THAT(sent(), ElementsAre(first)) << "the second waits for the first";
  look();
  EXPECT_EQ(sent().size(), 1u);
  sender_.accept();
  look();
  EXPECT_THAT(sent(), ElementsAre(first, second));
  EXPECT_EQ(pending(), 1u) << "the first is forgotten, and so is what was before the webhook";
  sender_.accept();
  look();
  EXPECT_EQ(pending(), 0u);
  EXPECT_EQ(state().delivered(), 2u);
  ASSERT_EQ(state().recent_size(), 2);
  EXPECT_EQ(state().recent(0).event_id(), first);
  EXPECT_EQ(state().recent(0).status(), 200);
}

TEST_F(OutboxTest, WithoutAWebhookEventsGoAtOnce) {
  happen(kRunFinished);
  EXPECT_EQ(look(), Time::never());
  EXPECT_EQ(pending(), 0u);
}

TEST_F(OutboxTest, SendsACloudEvent) {
  apply(kPlain);
  Change change;
  v1::Alias alias;
  alias.set_project("default");
  alias.set_model("m");
  alias.set_alias("champion");
  alias.set_version(3);
  alias.set_previous_version(2);
  add_alias_moved(plane_.context, &change, alias, "p");
  ASSERT_TRUE(plane_.context.commit(std::move(change)).is_ok());
  look();
  ASSERT_EQ(sender_.sent.size(), 1u);
  EXPECT_EQ(sender_.sent[0].event_type, "alias.moved");
  v1::CloudEvent body;
  ASSERT_TRUE(from_json(sender_.sent[0].body, &body).is_ok()) << sender_.sent[0].body;
  EXPECT_EQ(body.specversion(), "1.0");
  EXPECT_EQ(body.id(), sender_.sent[0].event_id);
  EXPECT_EQ(body.id().size(), 32u);
  EXPECT_EQ(body.type(), "freshet.alias.moved");
  EXPECT_EQ(body.source(), "/freshet/projects/default");
  EXPECT_EQ(body.subject(), "models/m@champion");
  EXPECT_EQ(body.data().version(), 3u);
  EXPECT_EQ(body.data().previous_version(), 2u);
}

TEST_F(OutboxTest, TellsAWebhookWhatItAskedFor) {
  apply(R"({"url": "https://example.org/", "events": ["alias.moved"], "pipelines": ["p"]})");
  apply(R"({"url": "https://example.org/", "disabled": true})", "off");
  happen(kRunFinished);
  happen(kAliasMoved, "other");
  const std::string wanted = happen(kAliasMoved);
  look();
  EXPECT_THAT(sent(), ElementsAre(wanted));
  sender_.accept();
  look();
  EXPECT_EQ(sent().size(), 1u);
  EXPECT_EQ(pending(), 0u) << "a disabled webhook holds nothing up";
}

TEST_F(OutboxTest, TriesAgainWithGrowingPausesUnderTheSameId) {
  apply(R"({"url": "https://example.org/", "retry_ms": 1000, "max_attempts": 9})");
  const std::string event = happen(kRunFinished);
  Duration total;
  for (int attempt = 1; attempt <= 5; ++attempt) {
    look(total);
    ASSERT_EQ(sent().size(), static_cast<size_t>(attempt));
    EXPECT_EQ(sent().back(), event);
    sender_.refuse();
    Time wake = look(total);
    ASSERT_NE(wake, Time::never());
    const int64_t pause = state().next_attempt_us() - (begin_ + total).us;
    const int64_t whole = 1'000'000LL << (attempt - 1);
    EXPECT_GE(pause, whole / 2);
    EXPECT_LE(pause, whole);
    EXPECT_EQ(state().attempts(), static_cast<uint32_t>(attempt));
    total = total + Duration::micros(pause - 1);
    look(total);
    ASSERT_EQ(sent().size(), static_cast<size_t>(attempt)) << "too early";
    total = total + Duration::micros(1);
  }
}

TEST_F(OutboxTest, AfterARestartTheAttemptsGoOn) {
  apply(kPlain);
  const std::string event = happen(kRunFinished);
  look();
  sender_.refuse();
  look();
  OutboxReconciler next(plane_.context, sender_);
  next.reconcile(begin_);
  EXPECT_EQ(sent().size(), 1u) << "the pause holds";
  next.reconcile(begin_ + Duration::seconds(2));
  EXPECT_THAT(sent(), ElementsAre(event, event));
  OutboxReconciler third(plane_.context, sender_);
  third.reconcile(begin_ + Duration::seconds(2));
  EXPECT_THAT(sent(), ElementsAre(event, event, event)) << "what was under way is sent again";
  EXPECT_EQ(state().attempts(), 1u);
}

TEST_F(OutboxTest, GivesUpAfterTheLastAttemptAndGoesOn) {
  apply(R"({"url": "https://example.org/", "max_attempts": 1})");
  const std::string poison = happen(kRunFinished), next = happen(kAliasMoved);
  look();
  sender_.refuse();
  look();
  EXPECT_THAT(sent(), ElementsAre(poison, next));
  ASSERT_EQ(dead().size(), 1u);
  EXPECT_EQ(dead()[0].event().id(), poison);
  EXPECT_EQ(dead()[0].reason(), "it answered 500");
  EXPECT_EQ(state().dead(), 1u);
}

TEST_F(OutboxTest, GivesUpWhatIsTooOld) {
  apply(R"({"url": "https://example.org/", "max_age_s": 60})");
  happen(kRunFinished);
  look();
  sender_.refuse();
  look(Duration::seconds(61));
  EXPECT_EQ(dead().size(), 1u);
}

TEST_F(OutboxTest, DeadLettersAreDeliveredAfterAll) {
  apply(R"({"url": "https://example.org/", "max_attempts": 1})");
  const std::string first = happen(kRunFinished), second = happen(kAliasMoved);
  look();
  for (int i = 0; i < 2; ++i) {
    sender_.refuse();
    look();
  }
  ASSERT_EQ(dead().size(), 2u);

  v1::RedeliverRequest request;
  EXPECT_EQ(plane_.webhooks.redeliver(caller_, "default", request).status().code(), Code::kInvalidArgument);
  request.add_event_ids("unknown");
  EXPECT_EQ(plane_.webhooks.redeliver(caller_, "default", request).status().code(), Code::kNotFound);
  request.set_event_ids(0, second);
  ASSERT_TRUE(plane_.webhooks.redeliver(caller_, "default", request).is_ok());
  look();
  EXPECT_EQ(sent().back(), second);
  sender_.accept();
  look();
  ASSERT_EQ(dead().size(), 1u);
  EXPECT_EQ(dead()[0].event().id(), first);

  v1::RedeliverRequest all;
  all.set_all(true);
  ASSERT_TRUE(plane_.webhooks.redeliver(caller_, "default", all).is_ok());
  look();
  EXPECT_EQ(sent().back(), first);
  sender_.refuse();
  look();
  ASSERT_EQ(dead().size(), 1u) << "it stays dead, after one more attempt";
  EXPECT_EQ(dead()[0].attempts(), 2u);
  const size_t count = sent().size();
  look(Duration::seconds(1000));
  EXPECT_EQ(sent().size(), count);
}

TEST_F(OutboxTest, AChangedWebhookIsTriedAtOnce) {
  apply(kPlain);
  const std::string event = happen(kRunFinished);
  look();
  sender_.refuse();
  look();
  EXPECT_EQ(sent().size(), 1u);
  apply(R"({"url": "https://example.org/other"})");
  look();
  EXPECT_THAT(sent(), ElementsAre(event, event));
  EXPECT_EQ(sender_.sent.back().spec.url(), "https://example.org/other");
}

TEST_F(OutboxTest, ATestReachesItsWebhookAlone) {
  apply(R"({"url": "https://example.org/", "events": ["alias.moved"]})");
  apply(kPlain, "other");
  auto event = plane_.webhooks.test(caller_, "default", "w");
  ASSERT_TRUE(event.is_ok()) << event.status().to_string();
  look();
  EXPECT_THAT(sent(), ElementsAre(event->id()));
  EXPECT_EQ(sender_.sent[0].event_type, "webhook.test");
  EXPECT_EQ(plane_.webhooks.test(caller_, "default", "none").status().code(), Code::kNotFound);
  apply(R"({"url": "https://example.org/", "disabled": true})", "other");
  EXPECT_EQ(plane_.webhooks.test(caller_, "default", "other").status().code(), Code::kConflict);
}

TEST_F(OutboxTest, ListsWhatWaits) {
  apply(R"({"url": "https://example.org/", "events": ["alias.moved"]})");
  happen(kAliasMoved);
  happen(kRunFinished);
  auto page = plane_.webhooks.list_webhooks("default", {});
  ASSERT_TRUE(page.is_ok()) << page.status().to_string();
  ASSERT_EQ(page->webhooks_size(), 1);
  EXPECT_EQ(page->webhooks(0).pending(), 1u);
  EXPECT_EQ(page->webhooks(0).webhook().spec().max_attempts(), 15u);
}

TEST_F(OutboxTest, AnEventIsStoredIfAndOnlyIfItsCauseIs) {
  Change change;
  change.actor = "test";
  v1::Event event;
  event.set_type(kRunFinished);
  add_event(plane_.context, &change, &event);
  v1::Counter counter;
  put(change, keys::counter("c"), counter);
  Change refused = change;
  expect(refused, keys::counter("c"), 99);
  EXPECT_EQ(plane_.store.commit(std::move(refused)).status().code(), Code::kConflict);
  EXPECT_EQ(pending(), 0u);
  ASSERT_TRUE(plane_.store.commit(std::move(change)).is_ok());
  auto stored = list<v1::Event>(*plane_.store.snapshot(), keys::outbox()).value();
  ASSERT_EQ(stored.size(), 1u);
  EXPECT_EQ(stored[0].key, keys::outbox_event(stored[0].revision, 0));
  EXPECT_EQ(stored[0].revision, plane_.store.snapshot()->revision());
}

}  // namespace
}  // namespace freshet::control
