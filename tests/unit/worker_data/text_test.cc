// A gpt on text: entries as tokens, its artifact, evaluation and inspection.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "base/file.h"
#include "base/sha256.h"
#include "tests/unit/worker/temp_dir.h"
#include "worker/checkpoint/gpt_artifact.h"
#include "worker/data/text_entries.h"
#include "worker/model/text_scores.h"
#include "worker/task/text_tasks.h"

namespace freshet::worker {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
namespace fs = std::filesystem;

class TextTest : public testing::Test {
 protected:
  TextTest() { data_.set_source_uri("file://" + dir_.path().string()); }

  v1::DatasetEntry& add(const std::string& name, const std::string& text) {
    std::ofstream(dir_.path() / name, std::ios::binary) << text;
    auto* entry = data_.add_entries();
    entry->set_uri(name);
    entry->set_sha256(Sha256::hex_of(text));
    return *entry;
  }

  // Of two layers. All parameters zero: every token is as likely as any other.
  static GptArtifact model(std::optional<Bpe> vocabulary = {}, std::optional<uint64_t> seed = {},
                           v1::GptModel::Style style = v1::GptModel::GPT2) {
    v1::GptModel wanted;
    wanted.set_style(style);
    wanted.set_layers(2);
    wanted.set_heads(2);
    wanted.set_width(16);
    wanted.set_context(8);
    wanted.set_dropout(0.25);
    GptTokenizer tokenizer(std::move(vocabulary));
    GptModel made = make_gpt(wanted, tokenizer.get().vocabulary_size()).value();
    std::vector<float> parameters(made.parameters());
    if (seed) made.initialise(*seed, parameters.data());
    return {std::move(tokenizer), std::move(made), std::move(parameters), {}};
  }

  v1::EvaluateTask task(const std::vector<std::string>& holdout) const {
    v1::EvaluateTask made;
    *made.mutable_data() = data_;
    for (const auto& uri : holdout) made.add_holdout(uri);
    made.mutable_candidate()->set_digest("c0");
    made.mutable_champion()->set_digest("c1");
    made.set_champion_version("m/3");
    return made;
  }

  TempDir dir_;
  v1::DatasetVersion data_;
};

TEST_F(TextTest, EntriesAreTokensWithAnEndOfTextBeforeEachDocument) {
  add("a.txt", "ab");
  add("b.jsonl", "{\"text\": \"c\"}\n{\"text\": \"\"}\n");
  auto entries = read_tokens(data_, *byte_tokenizer(), 2).value();
  EXPECT_THAT(entries[0].tokens, ElementsAre(256, 'a', 'b'));
  EXPECT_EQ(entries[0].bytes, 2u);
  EXPECT_THAT(entries[1].tokens, ElementsAre(256, 'c', 256));
  EXPECT_EQ(entries[1].documents, 2u);
  EXPECT_EQ(entries[1].uri, "b.jsonl");
}

TEST_F(TextTest, AnEntryThatIsNotAsRegisteredIsRefused) {
  add("a.txt", "ab").set_sha256(Sha256::hex_of("other"));
  add("gone.txt", "x");
  fs::remove(dir_.path() / "gone.txt");
  add("empty.txt", "");
  auto error = [&](int index) {
    return read_entry_tokens(dir_.path(), data_.entries(index), *byte_tokenizer()).status();
  };
  EXPECT_EQ(error(0).code(), Code::kConflict);
  EXPECT_THAT(error(0).message(), HasSubstr("a.txt: the file has changed"));
  EXPECT_EQ(error(1).code(), Code::kNotFound);
  EXPECT_EQ(error(2).code(), Code::kCorrupt);
  data_.mutable_entries(0)->set_uri("../a.txt");
  EXPECT_EQ(error(0).code(), Code::kInvalidArgument);
}

TEST_F(TextTest, AnArtifactReadBackIsTheSameModel) {
  BpeTraining training;
  training.add("the cat and the hat");
  for (auto style : {v1::GptModel::GPT2, v1::GptModel::LLAMA}) {
    const GptArtifact made = model(training.train(260).value(), 7, style);
    const std::vector<float> moments(made.parameters.size(), 0.5F);
    const fs::path out = dir_.path() / v1::GptModel::Style_Name(style);
    v1::CheckpointInfo info;
    info.set_step(12);
    auto saved = save_gpt(out, made.tokenizer, made.model, {made.parameters, moments, moments}, info);
    ASSERT_TRUE(saved.is_ok()) << saved.status().message();
    auto read = load_gpt(saved->path());
    ASSERT_TRUE(read.is_ok()) << read.status().message();
    EXPECT_EQ(read->parameters, made.parameters);
    EXPECT_EQ(read->checkpoint.step(), 12u);
    EXPECT_EQ(read->tokenizer.vocabulary()->vocab_bpe(), made.tokenizer.vocabulary()->vocab_bpe());
    const GptConfig &a = read->model.config(), &b = made.model.config();
    EXPECT_TRUE(a.style == b.style && a.compute == b.compute && a.layers == b.layers && a.heads == b.heads &&
                a.kv_heads == b.kv_heads && a.width == b.width && a.feed_forward == b.feed_forward &&
                a.context == b.context && a.vocabulary == b.vocabulary && a.dropout == b.dropout && a.tied == b.tied &&
                a.epsilon == b.epsilon && a.rope_base == b.rope_base);
  }
}

TEST_F(TextTest, ADamagedOrOtherArtifactIsRefused) {
  const GptArtifact made = model({}, 7);
  auto saved =
      save_gpt(dir_.path() / "out", made.tokenizer, made.model, {made.parameters, made.parameters, made.parameters}, {})
          .value();
  std::ofstream(fs::path(saved.path()) / "config.json", std::ios::app) << " ";
  EXPECT_EQ(load_gpt(saved.path()).status().code(), Code::kCorrupt);
  EXPECT_EQ(load_gpt(dir_.path() / "none").status().code(), Code::kNotFound);
}

TEST_F(TextTest, LossCountsEachTokenOnce) {
  const GptArtifact uniform = model();
  CpuTextScorer scorer(uniform.model, uniform.parameters, 1);
  for (size_t length : {1u, 7u, 8u, 9u, 5000u}) {
    EntryTokens entry;
    entry.bytes = length;
    entry.tokens.assign(length + 1, 'x');
    const TextLoss loss = text_loss(entry, &scorer).value();
    EXPECT_EQ(loss.tokens, length);
    EXPECT_NEAR(loss.nats, static_cast<double>(length) * std::log(257.0), 1e-5 * static_cast<double>(length));
  }
  EntryTokens nothing;
  EXPECT_EQ(text_loss(nothing, &scorer).value().tokens, 0u);
}

TEST_F(TextTest, LossHasTheSameBitsForAnyThreads) {
  const GptArtifact drawn = model({}, 3);
  EntryTokens entry;
  for (Token i = 0; i < 3001; ++i) entry.tokens.push_back(i * 7 % 256);
  entry.bytes = 3000;
  const double one = CpuTextScorer(drawn.model, drawn.parameters, 1).nats(entry.tokens).value();
  for (unsigned threads : {2u, 3u, 4u}) {
    CpuTextScorer scorer(drawn.model, drawn.parameters, threads);
    EXPECT_EQ(scorer.nats(entry.tokens).value(), one);
    scorer.nats(std::span(entry.tokens).first(70)).value();
    EXPECT_EQ(scorer.nats(entry.tokens).value(), one) << "what was scored before has left something";
  }
  EXPECT_NEAR(one, 3000 * std::log(257.0), 300);
}

TEST_F(TextTest, MetricsAreOfTokensAndBytes) {
  const auto metrics = text_metrics({20 * std::log(2.0), 10, 40});
  ASSERT_EQ(metrics.size(), 3u);
  EXPECT_NEAR(metrics[0].value(), 2 * std::log(2.0), 1e-12);
  EXPECT_NEAR(metrics[1].value(), 4, 1e-12);
  EXPECT_NEAR(metrics[2].value(), 0.5, 1e-12);
}

TEST_F(TextTest, EvaluationComparesOverBytes) {
  add("a.txt", "learnt from");
  add("b.txt", "the the the the");
  add("c.txt", "cat cat");
  BpeTraining training;
  training.add("the the cat cat");
  const GptArtifact candidate = model(training.train(262).value()), champion = model();
  auto report = evaluate_text(task({"b.txt", "c.txt"}), candidate, &champion, 2);
  ASSERT_TRUE(report.is_ok()) << report.status().message();
  EXPECT_EQ(report->rows(), 22u);
  ASSERT_EQ(report->entries_size(), 2);
  EXPECT_EQ(report->entries(1).uri(), "c.txt");
  EXPECT_EQ(report->entries(1).rows(), 7u);
  EXPECT_NEAR(report->entries(1).champion_loss_sum(), 7 * std::log(257.0), 1e-4);
  // Fewer tokens, each a little less likely.
  EXPECT_NEAR(report->entries(1).candidate_loss_sum() / std::log(262.0),
              static_cast<double>(
                  read_entry_tokens(dir_.path(), data_.entries(2), candidate.tokenizer.get())->tokens.size() - 1),
              1e-4);
  EXPECT_LT(report->entries(1).candidate_loss_sum(), report->entries(1).champion_loss_sum());
  EXPECT_EQ(report->champion_version(), "m/3");
  EXPECT_EQ(report->candidate().metrics_size(), 3);
}

TEST_F(TextTest, EvaluationRefusesWhatAModelHasSeenAndSlices) {
  add("a.txt", "one");
  add("b.txt", "two");
  auto seen = task({"b.txt"});
  auto* trained = seen.add_trained_on();
  trained->set_version("candidate");
  *trained->add_entries() = data_.entries(1);
  EXPECT_THAT(evaluate_text(seen, model(), nullptr, 1).status().message(), HasSubstr("was trained on"));
  auto sliced = task({"b.txt"});
  sliced.add_slices()->set_column("year");
  EXPECT_THAT(evaluate_text(sliced, model(), nullptr, 1).status().message(), HasSubstr("no columns"));
}

TEST_F(TextTest, InspectionCountsDocumentsAndScoresTheChampion) {
  add("a.txt", "abc");
  add("b.jsonl", "{\"text\": \"a\"}\n{\"text\": \"b\"}\n");
  add("c.jsonl", "{}\n");
  v1::InspectTask inspection;
  *inspection.mutable_data() = data_;
  inspection.set_champion_version("m/3");
  const GptArtifact champion = model();
  auto report = inspect_text(inspection, &champion, 1).value();
  ASSERT_EQ(report.profiles_size(), 3);
  EXPECT_EQ(report.profiles(0).rows(), 1u);
  EXPECT_EQ(report.profiles(1).rows(), 2u);
  EXPECT_EQ(report.profiles(0).champion_version(), "m/3");
  EXPECT_NEAR(report.profiles(0).champion_metrics(2).value(), std::log2(257.0), 1e-5);
  EXPECT_THAT(report.profiles(2).error(), HasSubstr("line 1 has no string"));
  auto first = inspect_text(inspection, nullptr, 1).value();
  EXPECT_EQ(first.profiles(0).champion_version(), "");
}

}  // namespace
}  // namespace freshet::worker
