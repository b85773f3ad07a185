#include "worker/checkpoint/model_artifact.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/file.h"
#include "base/sha256.h"
#include "proto/json.h"
#include "proto/transform.pb.h"
#include "tests/unit/worker/temp_dir.h"
#include "worker/checkpoint/artifact_writer.h"
#include "worker/model/predict.h"

namespace freshet::worker {
namespace {

using testing::HasSubstr;

Transform transform_of(const std::vector<std::string>& words, bool binary = true) {
  v1::TransformState state;
  auto* model = state.mutable_model();
  auto* color = model->add_features();
  color->set_column("color");
  color->set_kind(v1::Feature::CATEGORICAL);
  color->set_embedding_dim(3);
  auto* size = model->add_features();
  size->set_column("size");
  size->set_kind(v1::Feature::NUMERIC);
  model->mutable_label()->set_column("y");
  model->mutable_label()->set_task(binary ? v1::Label::BINARY : v1::Label::REGRESSION);
  model->add_hidden_layers(4);
  auto* vocabulary = state.add_vocabularies();
  for (const auto& word : words) vocabulary->add_words(word);
  auto* scaling = state.add_scalings();
  scaling->set_mean(1);
  scaling->set_scale(2);
  if (!binary) {
    state.mutable_label()->set_mean(100);
    state.mutable_label()->set_scale(10);
  }
  auto transform = Transform::from_json(to_canonical_json(state));
  EXPECT_TRUE(transform.is_ok()) << transform.status().to_string();
  return std::move(transform).value();
}

TabularModel model_of(const Transform& transform) {
  auto model = TabularModel::create(TabularShape::of(transform));
  EXPECT_TRUE(model.is_ok());
  return std::move(model).value();
}

std::vector<float> start_of(const TabularModel& model, uint64_t seed) {
  std::vector<float> parameters(model.parameters());
  model.initialise(seed, parameters.data());
  return parameters;
}

v1::ProducedOutput save(const std::filesystem::path& directory, const Transform& transform, uint64_t seed = 1) {
  auto model = model_of(transform);
  std::vector<float> zeros(model.parameters());
  v1::CheckpointInfo checkpoint;
  checkpoint.set_step(12);
  auto output = save_model(directory, transform, model, {start_of(model, seed), zeros, zeros}, checkpoint);
  EXPECT_TRUE(output.is_ok()) << output.status().to_string();
  return std::move(output).value();
}

EncodedRows some_rows(int32_t codes, size_t count) {
  EncodedRows rows;
  rows.rows = count;
  rows.categorical.resize(1);
  rows.numeric.resize(1);
  for (size_t i = 0; i < count; ++i) {
    rows.categorical[0].push_back(static_cast<int32_t>(i) % codes);
    rows.numeric[0].push_back(static_cast<float>(i) / 100);
  }
  return rows;
}

TEST(ModelArtifact, LoadsWhatItSaved) {
  TempDir dir;
  auto transform = transform_of({"blue", "red"});
  auto output = save(dir.path(), transform);
  EXPECT_EQ(output.name(), "model");
  EXPECT_EQ(output.digest(), Sha256::hex_of(read_file(dir.path() / "model/manifest.json").value()));
  EXPECT_FALSE(std::filesystem::exists(dir.path() / "model.tmp"));

  auto loaded = load_model(dir.path() / "model");
  ASSERT_TRUE(loaded.is_ok()) << loaded.status().to_string();
  EXPECT_EQ(loaded->parameters, start_of(model_of(transform), 1));
  EXPECT_EQ(loaded->transform.to_json(), transform.to_json());
  EXPECT_EQ(loaded->checkpoint.step(), 12U);
  EXPECT_EQ(loaded->checkpoint.family(), "tabular");
  EXPECT_TRUE(is_sha256_hex(loaded->checkpoint.weights_digest()));
  EXPECT_TRUE(is_sha256_hex(loaded->checkpoint.numerics().engine_build()));
  EXPECT_THAT(loaded->checkpoint.numerics().libraries(), testing::Contains(HasSubstr("oneDNN")));
}

TEST(ModelArtifact, SavesTheSameBytesTwice) {
  TempDir a, b;
  EXPECT_EQ(save(a.path(), transform_of({"blue"})).digest(), save(b.path(), transform_of({"blue"})).digest());
  EXPECT_NE(save(TempDir().path(), transform_of({"blue"}), 2).digest(),
            save(TempDir().path(), transform_of({"blue"}), 1).digest());
}

TEST(ModelArtifact, DoesNotReplaceAnOutputAndRemovesAnUnfinishedOne) {
  TempDir dir;
  std::filesystem::create_directories(dir.path() / "model.tmp");
  std::ofstream(dir.path() / "model.tmp/left-over") << "x";
  save(dir.path(), transform_of({"blue"}));
  EXPECT_FALSE(std::filesystem::exists(dir.path() / "model/left-over"));
  EXPECT_EQ(ArtifactWriter::create(dir.path(), "model", "model").status().code(), Code::kAlreadyExists);
}

class DamagedModel : public testing::Test {
 protected:
  void SetUp() override { save(dir_.path(), transform_of({"blue", "red"})); }
  std::filesystem::path file(const char* name) { return dir_.path() / "model" / name; }
  void change(const char* name, const std::string& text) { std::ofstream(file(name), std::ios::trunc) << text; }
  std::string message() { return load_model(dir_.path() / "model").status().message(); }
  TempDir dir_;
};

TEST_F(DamagedModel, MissingFile) {
  std::filesystem::remove(file("transform.json"));
  EXPECT_THAT(message(), HasSubstr("transform.json"));
}

TEST_F(DamagedModel, FlippedByte) {
  std::string bytes = read_file(file("model.safetensors")).value();
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  change("model.safetensors", bytes);
  EXPECT_THAT(message(), HasSubstr("model.safetensors is not what its manifest says"));
}

TEST_F(DamagedModel, NoManifest) {
  std::filesystem::remove(file("manifest.json"));
  EXPECT_EQ(load_model(dir_.path() / "model").status().code(), Code::kNotFound);
}

TEST_F(DamagedModel, ManifestThatIsNoJson) {
  change("manifest.json", "{");
  EXPECT_EQ(load_model(dir_.path() / "model").status().code(), Code::kCorrupt);
}

TEST_F(DamagedModel, ManifestThatPointsElsewhere) {
  v1::ArtifactManifest manifest;
  ASSERT_TRUE(from_json(read_file(file("manifest.json")).value(), &manifest).is_ok());
  manifest.mutable_files(0)->set_name("../model/model.safetensors");
  change("manifest.json", to_canonical_json(manifest));
  EXPECT_THAT(message(), HasSubstr("lists the file name"));
}

TEST_F(DamagedModel, WeightsOfAnotherModel) {
  v1::ArtifactManifest manifest;
  ASSERT_TRUE(from_json(read_file(file("manifest.json")).value(), &manifest).is_ok());
  manifest.mutable_checkpoint()->set_weights_digest(std::string(64, '0'));
  change("manifest.json", to_canonical_json(manifest));
  EXPECT_THAT(message(), HasSubstr("the weights are not those that the manifest names"));
}

TEST(NotAModel, IsRefused) {
  TempDir dir;
  auto writer = ArtifactWriter::create(dir.path(), "report", "report");
  ASSERT_TRUE(writer.is_ok());
  ASSERT_TRUE(writer->add_file("report.json", "{}").is_ok());
  ASSERT_TRUE(writer->seal().is_ok());
  EXPECT_THAT(load_model(dir.path() / "report").status().message(), HasSubstr("is not a model of the family tabular"));
}

TEST(WarmStart, KeepsTheOldRowsAndDrawsNewOnesAfresh) {
  TempDir dir;
  save(dir.path(), transform_of({"blue", "red"}), 1);
  auto old = load_model(dir.path() / "model");
  ASSERT_TRUE(old.is_ok());
  auto grown = model_of(transform_of({"blue", "red", "green", "white"}));
  auto initial = start_of(grown, 2);
  auto started = warm_start(grown, initial, *old);
  ASSERT_TRUE(started.is_ok()) << started.status().to_string();
  const auto& table = grown.tensors()[0];
  size_t old_rows = 3 * 3;  // unknown, blue, red
  for (size_t i = 0; i < table.size; ++i) {
    EXPECT_EQ((*started)[i], i < old_rows ? old->parameters[i] : initial[i]) << i;
  }
  for (size_t i = table.size; i < grown.parameters(); ++i) {
    EXPECT_EQ((*started)[i], old->parameters[i - table.size + old_rows]);
  }
}

// A class more is a row more of the output layer.
TEST(WarmStart, KeepsTheOldClasses) {
  TempDir dir;
  save(dir.path(), transform_of({"blue", "red"}), 1);
  auto old = load_model(dir.path() / "model");
  ASSERT_TRUE(old.is_ok());
  auto shape = old->model.shape();
  shape.classes = 3;
  auto grown = TabularModel::create(shape);
  ASSERT_TRUE(grown.is_ok());
  auto initial = start_of(*grown, 2);
  auto started = warm_start(*grown, initial, *old);
  ASSERT_TRUE(started.is_ok()) << started.status().to_string();
  const auto& weight = *(grown->tensors().end() - 2);
  const auto& source = *(old->model.tensors().end() - 2);
  ASSERT_EQ(weight.name, "output.weight");
  for (size_t i = 0; i < weight.size; ++i) {
    EXPECT_EQ((*started)[weight.offset + i],
              i < source.size ? old->parameters[source.offset + i] : initial[weight.offset + i]);
  }
}

TEST(WarmStart, RefusesAnotherArchitecture) {
  TempDir dir;
  save(dir.path(), transform_of({"blue", "red"}));
  auto old = load_model(dir.path() / "model");
  ASSERT_TRUE(old.is_ok());
  auto shape = old->model.shape();
  shape.hidden = {5};
  auto wider = TabularModel::create(shape);
  EXPECT_THAT(warm_start(*wider, start_of(*wider, 1), *old).status().message(),
              HasSubstr("layers.0.weight has the shape [4, 4], not [5, 4]"));
  shape.hidden = {4, 4};
  auto deeper = TabularModel::create(shape);
  EXPECT_FALSE(warm_start(*deeper, start_of(*deeper, 1), *old).is_ok());
  auto shrunk = model_of(transform_of({"blue"}));
  EXPECT_FALSE(warm_start(shrunk, start_of(shrunk, 1), *old).is_ok());
}

TEST(Predictor, GivesTheSameBitsForAnyNumberOfThreads) {
  TempDir dir;
  save(dir.path(), transform_of({"blue", "red"}));
  auto predictor = load_predictor(dir.path() / "model");
  ASSERT_TRUE(predictor.is_ok()) << predictor.status().to_string();
  auto rows = some_rows(3, 2000);
  auto one = (*predictor)->predict(rows, 1);
  ASSERT_TRUE(one.is_ok()) << one.status().to_string();
  ASSERT_EQ(one->size(), 2000U);
  for (unsigned threads : {2, 3, 8}) EXPECT_EQ((*predictor)->predict(rows, threads).value(), *one);
}

TEST(Predictor, GivesRegressionInRawUnits) {
  TempDir dir, binary;
  save(dir.path(), transform_of({"blue", "red"}, false));
  save(binary.path(), transform_of({"blue", "red"}, true));
  auto rows = some_rows(3, 10);
  auto raw = (*load_predictor(dir.path() / "model"))->predict(rows, 1).value();
  auto standardised = (*load_predictor(binary.path() / "model"))->predict(rows, 1).value();  // the same weights
  for (size_t i = 0; i < raw.size(); ++i) {
    EXPECT_FLOAT_EQ(raw[i], static_cast<float>(static_cast<double>(standardised[i]) * 10 + 100));
  }
}

TEST(Predictor, RefusesRowsOfAnotherTransform) {
  TempDir dir;
  save(dir.path(), transform_of({"blue", "red"}));
  auto predictor = load_predictor(dir.path() / "model");
  EXPECT_THAT((*predictor)->predict(some_rows(4, 10), 1).status().message(), HasSubstr("color has a code"));
}

}  // namespace
}  // namespace freshet::worker
