// SPDX-License-Identifier: Apache-2.0
#include "weights/safetensors.h"

#include <filesystem>
#include <numeric>

#include <gmock/gmock.h>

#include "base/error.h"
#include "weights/mapped_file.h"
#include "weights/testing/expect_error.h"
#include "weights/testing/file_builders.h"
#include "weights/testing/temp_folder.h"

namespace lanner {
namespace {

using testing::ElementsAre;

const std::string kGolden = std::string(LANNER_TESTS_DIR) + "/golden/";

constexpr const char* kTwoTensors =
    R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
    R"("b":{"dtype":"BF16","shape":[2,1],"data_offsets":[8,12]}})";

TEST(Safetensors, ReadsNamesShapesAndData) {
  const TempFolder folder;
  std::string data;
  append_raw(data, 1.5f);
  append_raw(data, -2.0f);
  append_raw<uint16_t>(data, 0x3f80);
  append_raw<uint16_t>(data, 0x4000);
  const auto checkpoint =
      open_safetensors_file(folder.write("x.safetensors", safetensors_bytes(kTwoTensors, data)));

  EXPECT_THAT(checkpoint->names(), ElementsAre("a", "b"));
  EXPECT_TRUE(checkpoint->contains("a"));
  EXPECT_FALSE(checkpoint->contains("__metadata__"));
  const CheckpointTensor a = checkpoint->get("a");
  EXPECT_EQ(a.view.shape(), (Shape{2}));
  EXPECT_EQ(a.view.data<float>()[0], 1.5f);
  EXPECT_EQ(a.view.data<float>()[1], -2.0f);
  const CheckpointTensor b = checkpoint->get("b");
  EXPECT_EQ(b.view.dtype(), DType::kBf16);
  EXPECT_EQ(b.view.shape(), (Shape{2, 1}));
  EXPECT_EQ(b.view.row<uint16_t>(1)[0], 0x4000);
  EXPECT_EQ(checkpoint->info("b").dtype, "BF16");
  EXPECT_EQ(checkpoint->info("b").bytes, 4);
}

TEST(Safetensors, TensorOutlivesTheCheckpoint) {
  const TempFolder folder;
  CheckpointTensor a;
  {
    const auto checkpoint = open_safetensors_file(
        folder.write("x.safetensors", safetensors_bytes(kTwoTensors, std::string(12, '\x01'))));
    a = checkpoint->get("a");
  }
  EXPECT_EQ(a.view.raw()[7], std::byte{1});
}

TEST(Safetensors, AlignsDataAtAnOddAddress) {
  const TempFolder folder;
  for (size_t blanks = 0; blanks < 5; ++blanks) {
    std::string data;
    append_raw(data, 3.25f);
    const std::string header =
        R"({"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}})" + std::string(blanks, ' ');
    const auto checkpoint =
        open_safetensors_file(folder.write("x.safetensors", safetensors_bytes(header, data)));
    const CheckpointTensor a = checkpoint->get("a");
    EXPECT_EQ(a.view.shape(), Shape{1});
    EXPECT_EQ(reinterpret_cast<uintptr_t>(a.view.raw()) % alignof(float), 0u);
    EXPECT_EQ(a.view.data<float>()[0], 3.25f);
  }
}

TEST(Safetensors, RefusesTypesWhenTheyAreUsedNotWhenTheyAreThere) {
  const TempFolder folder;
  for (const char* dtype : {"I8", "BOOL", "F8_E4M3", "SOMETHING_NEW"}) {
    const std::string header =
        fmt::format(R"({{"a":{{"dtype":"{}","shape":[3],"data_offsets":[0,3]}}}})", dtype);
    const auto checkpoint =
        open_safetensors_file(folder.write("x.safetensors", safetensors_bytes(header, "abc")));
    EXPECT_TRUE(checkpoint->contains("a"));
    expect_error(ErrorCode::kUnsupported, {"x.safetensors", "'a'", dtype},
                 [&] { checkpoint->get("a"); });
  }
}

TEST(Safetensors, NamesTheTensorThatIsMissingOrHasAnotherShape) {
  const auto checkpoint = open_safetensors_folder(kGolden + "llama-tied");
  expect_error(ErrorCode::kNotFound, {"'no.such'"}, [&] { checkpoint->get("no.such"); });
  const WeightScope layer = WeightScope(*checkpoint).at("model.layers").at(0);
  EXPECT_EQ(layer.at("mlp").full_name("up_proj.weight"), "model.layers.0.mlp.up_proj.weight");
  EXPECT_EQ(layer.tensor("mlp.up_proj.weight", Shape{160, 64}).view.shape(), (Shape{160, 64}));
  EXPECT_TRUE(layer.contains("input_layernorm.weight"));
  EXPECT_FALSE(layer.optional_tensor("mlp.up_proj.bias", Shape{160}).has_value());
  expect_error(ErrorCode::kInvalidArgument,
               {"'model.layers.0.mlp.up_proj.weight'", "[160, 64]", "[64, 160]"},
               [&] { layer.optional_tensor("mlp.up_proj.weight", Shape{64, 160}); });
}

struct BadHeader {
  const char* name;
  const char* header;
  size_t data_bytes;
  const char* word;  // of the message
};

class BadSafetensorsTest : public testing::TestWithParam<BadHeader> {};

TEST_P(BadSafetensorsTest, IsRefusedWithTheReason) {
  const BadHeader& bad = GetParam();
  const TempFolder folder;
  const std::string path = folder.write(
      "bad.safetensors", safetensors_bytes(bad.header, std::string(bad.data_bytes, '\0')));
  expect_error(ErrorCode::kCorruptFile, {path, bad.word}, [&] { open_safetensors_file(path); });
}

constexpr BadHeader kBadHeaders[] = {
    {"Empty", "", 0, "start"},
    {"NotJson", "{not json", 0, "JSON"},
    {"List", "[1]", 0, "start"},
    {"TrailingText", R"({} x)", 0, "JSON"},
    {"NaN", R"({"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,4]}})", 4, "JSON"},
    {"Number", R"({"a":5})", 0, "a number"},
    {"DeepNesting", R"({"a":{"dtype":{"b":{}}}})", 0, "an object"},
    {"NestedList", R"({"a":{"dtype":"F32","shape":[[1]],"data_offsets":[0,4]}})", 4, "a list"},
    {"ListOfStrings", R"({"a":{"dtype":"F32","shape":["1"],"data_offsets":[0,4]}})", 4, "a string"},
    {"NumberAsType", R"({"a":{"dtype":1,"shape":[1],"data_offsets":[0,4]}})", 4, "a number"},
    {"MetadataNumber", R"({"__metadata__":{"a":1}})", 0, "a number"},
    {"DuplicateTensor",
     R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
     4, "twice"},
    {"DuplicateKey", R"({"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4,
     "twice"},
    {"UnknownKey", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":"y"}})", 4,
     "unknown key"},
    {"NoShape", R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", 4, "no shape"},
    {"NoOffsets", R"({"a":{"dtype":"F32","shape":[1]}})", 4, "no data_offsets"},
    {"NoType", R"({"a":{"shape":[1],"data_offsets":[0,4]}})", 4, "no dtype"},
    {"ThreeOffsets", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}})", 8, "offsets"},
    {"OffsetsBackwards", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4, "offsets"},
    {"OffsetsPastTheEnd", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 4,
     "offsets"},
    {"NegativeOffset", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}})", 4, "negative"},
    {"HugeOffset",
     R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,99999999999999999999999999]}})", 4,
     "fractional or huge"},
    {"Overlap",
     R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
     12, "overlap"},
    {"SameData",
     R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
     8, "overlap"},
    {"Hole",
     R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}})",
     12, "hole"},
    {"HoleAtTheStart", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8, "hole"},
    {"DataLeftOver", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 8, "8 bytes"},
    {"SizeOfTypeDiffers", R"({"a":{"dtype":"F16","shape":[1],"data_offsets":[0,4]}})", 4,
     "4 bytes of data"},
    {"ShapeOverflows",
     R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0,
     "overflows"},
    {"BytesOverflow", R"({"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}})",
     0, "overflows"},
    {"SizeAboveInt64",
     R"({"a":{"dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,0]}})", 0, "overflows"},
};

INSTANTIATE_TEST_SUITE_P(Headers, BadSafetensorsTest, testing::ValuesIn(kBadHeaders),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(Safetensors, RefusesHeaderLengthsThatCannotBe) {
  const TempFolder folder;
  for (const auto& [length, word] : std::vector<std::pair<uint64_t, std::string>>{
           {100'000'001, "at most"}, {~uint64_t{0}, "at most"}, {3, "cut off"}}) {
    std::string bytes;
    append_raw(bytes, length);
    const std::string path = folder.write("x.safetensors", bytes + "{}");
    expect_error(ErrorCode::kCorruptFile, {path, word}, [&] { open_safetensors_file(path); });
  }
  const std::string path = folder.write("short.safetensors", "1234567");
  expect_error(ErrorCode::kCorruptFile, {path}, [&] { open_safetensors_file(path); });
}

// A quadratic parser would take minutes.
TEST(Safetensors, ReadsAHundredThousandTensors) {
  const TempFolder folder;
  std::string header = "{";
  for (int i = 0; i < 100'000; ++i) {
    header += fmt::format(
        R"({}"model.layers.{}.weight":{{"dtype":"U8","shape":[1],"data_offsets":[{},{}]}})",
        i == 0 ? "" : ",", i, i, i + 1);
  }
  const auto checkpoint = open_safetensors_file(
      folder.write("x.safetensors", safetensors_bytes(header + "}", std::string(100'000, '\0'))));
  EXPECT_EQ(checkpoint->names().size(), 100'000u);
}

TEST(SafetensorsFolder, OpensEveryGoldenLlama) {
  int sharded = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kGolden)) {
    if (!entry.path().filename().string().starts_with("llama-")) continue;
    const auto checkpoint = open_safetensors_folder(entry.path().string());
    EXPECT_TRUE(checkpoint->contains("model.embed_tokens.weight")) << entry.path();
    EXPECT_TRUE(checkpoint->contains("model.layers.1.mlp.down_proj.weight")) << entry.path();
    for (const std::string& name : checkpoint->names()) checkpoint->get(name);
    sharded += std::filesystem::exists(entry.path() / "model.safetensors.index.json");
  }
  EXPECT_EQ(sharded, 1);
}

class ShardedTest : public testing::Test {
 protected:
  void write_shard(const std::string& file, const std::string& tensor) {
    folder_.write(
        file,
        safetensors_bytes(
            fmt::format(R"({{"{}":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}})", tensor),
            "abcd"));
  }
  void write_index(const std::string& weight_map) {
    folder_.write(
        "model.safetensors.index.json",
        R"({"metadata":{"total_size":8,"x":[{"y":null}]},"weight_map":)" + weight_map + "}");
  }
  TempFolder folder_;
};

TEST_F(ShardedTest, FindsTensorsInTheirShards) {
  write_shard("one.safetensors", "a");
  write_shard("two.safetensors", "b");
  write_index(R"({"a":"one.safetensors","b":"two.safetensors"})");
  const auto checkpoint = open_safetensors_folder(folder_.path());
  EXPECT_THAT(checkpoint->names(), ElementsAre("a", "b"));
  EXPECT_EQ(checkpoint->get("b").view.shape(), Shape{1});
}

TEST_F(ShardedTest, RefusesAMissingShardAndAMissingTensor) {
  write_shard("one.safetensors", "a");
  write_index(R"({"a":"one.safetensors","b":"two.safetensors"})");
  expect_error(ErrorCode::kNotFound, {"index.json", "'two.safetensors'"},
               [&] { open_safetensors_folder(folder_.path()); });
  write_index(R"({"a":"one.safetensors","b":"one.safetensors"})");
  expect_error(ErrorCode::kCorruptFile, {"'b'", "'one.safetensors'"},
               [&] { open_safetensors_folder(folder_.path()); });
}

TEST_F(ShardedTest, RefusesFileNamesThatLeaveTheFolder) {
  for (const char* name : {"../one.safetensors", "/etc/x.safetensors", "a/b.safetensors", "..",
                           "a\\\\b.safetensors", "one.bin", "", "a\\u0000.safetensors"}) {
    write_index(fmt::format(R"({{"a":"{}"}})", name));
    expect_error(ErrorCode::kCorruptFile, {"index.json", "plain name"},
                 [&] { open_safetensors_folder(folder_.path()); });
  }
}

TEST_F(ShardedTest, RefusesAnIndexThatIsNone) {
  for (const char* map : {"[]", "5", "null", R"({"a":5})", R"({"a":{"b":"c"}})", R"({"a":["b"]})",
                          R"({"a":"x.safetensors","a":"y.safetensors"})",
                          R"({"a":"x.safetensors"},"weight_map":{})"}) {
    write_index(map);
    expect_error(ErrorCode::kCorruptFile, {"index.json"},
                 [&] { open_safetensors_folder(folder_.path()); });
  }
  for (const char* text : {"", "{}", "[]", R"({"metadata":{"weight_map":{}}})"}) {
    folder_.write("model.safetensors.index.json", text);
    expect_error(ErrorCode::kCorruptFile, {"index.json"},
                 [&] { open_safetensors_folder(folder_.path()); });
  }
  folder_.write("model.safetensors.index.json", std::string(100'000, '['));
  expect_error(ErrorCode::kCorruptFile, {"index.json"},
               [&] { open_safetensors_folder(folder_.path()); });
}

TEST(SafetensorsFolder, RefusesPickleFilesWithAHint) {
  const TempFolder folder;
  expect_error(ErrorCode::kNotFound, {folder.path(), "model.safetensors"},
               [&] { open_safetensors_folder(folder.path()); });
  folder.write("pytorch_model.bin", "x");
  expect_error(ErrorCode::kUnsupported,
               {folder.path(), "pickle", "pytorch_model.bin", "safetensors"},
               [&] { open_safetensors_folder(folder.path()); });
}

TEST(SafetensorsWriter, WritesWhatTheReaderReads) {
  const TempFolder folder;
  const std::string path = folder.file("out.safetensors");
  std::vector<float> logits(15);
  std::iota(logits.begin(), logits.end(), 0.0f);
  std::vector<uint16_t> halves = {1, 2, 3, 4};
  {
    SafetensorsWriter writer(
        path, {{"logits", DType::kF32, Shape{5, 3}}, {"x", DType::kBf16, Shape{2, 2}}});
    writer.append(Tensor(logits.data(), DType::kF32, Shape{2, 3}));
    writer.append(Tensor(logits.data() + 6, DType::kF32, Shape{3, 3}));
    writer.append(Tensor(halves.data(), DType::kBf16, Shape{2, 2}));
    writer.finish();
  }
  const auto checkpoint = open_safetensors_file(path);
  const CheckpointTensor back = checkpoint->get("logits");
  EXPECT_EQ(back.view.shape(), (Shape{5, 3}));
  EXPECT_THAT(std::vector<float>(back.view.data<float>(), back.view.data<float>() + 15),
              testing::ElementsAreArray(logits));
  EXPECT_EQ(checkpoint->get("x").view.data<uint16_t>()[3], 4);
}

TEST(SafetensorsWriter, LeavesNoHalfFile) {
  const TempFolder folder;
  const std::string path = folder.file("out.safetensors");
  std::vector<float> row(3);
  {
    SafetensorsWriter writer(path, {{"logits", DType::kF32, Shape{2, 3}}});
    writer.append(Tensor(row.data(), DType::kF32, Shape{1, 3}));
    expect_error(ErrorCode::kInvalidArgument, {path, "12 bytes"}, [&] { writer.finish(); });
    expect_error(ErrorCode::kInvalidArgument, {path, "more"}, [&] {
      writer.append(Tensor(row.data(), DType::kF32, Shape{1, 3}));
      writer.append(Tensor(row.data(), DType::kF32, Shape{1, 3}));
    });
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(SafetensorsWriter, KeepsWhatWasThereUntilItHasFinished) {
  const TempFolder folder;
  const std::string path = folder.write("out.safetensors", "precious");
  std::filesystem::create_symlink(path, folder.file("link"));
  const std::vector<SafetensorsWriter::Entry> entries = {{"x", DType::kF32, Shape{1, 3}}};
  std::vector<float> row(3);
  {
    const SafetensorsWriter broken_off(path, entries);
  }
  EXPECT_EQ(std::filesystem::file_size(path), 8u);
  SafetensorsWriter writer(folder.file("link"), entries);
  writer.append(Tensor(row.data(), DType::kF32, Shape{1, 3}));
  EXPECT_EQ(std::filesystem::file_size(path), 8u);
  writer.finish();
  EXPECT_TRUE(open_safetensors_file(path)->contains("x"));
  EXPECT_TRUE(std::filesystem::is_symlink(folder.file("link")));
}

TEST(SafetensorsWriter, NamesThePathThatCannotBeWritten) {
  expect_error(ErrorCode::kIo, {"/no/such/folder/x"},
               [] { SafetensorsWriter writer("/no/such/folder/x", {}); });
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "no /dev/full";
  expect_error(ErrorCode::kIo, {"/dev/full"}, [] {
    SafetensorsWriter writer("/dev/full", {});
    writer.finish();
  });
}

TEST(MappedFile, RefusesWhatIsNoFile) {
  expect_error(ErrorCode::kNotFound, {"/no/such"}, [] { MappedFile::open("/no/such"); });
  expect_error(ErrorCode::kIo, {"/dev/null", "regular"}, [] { MappedFile::open("/dev/null"); });
  const TempFolder folder;
  EXPECT_TRUE(MappedFile::open(folder.write("empty", ""))->bytes().empty());
}

TEST(QuoteName, KeepsMessagesReadable) {
  EXPECT_EQ(quote_name("a.b"), "'a.b'");
  EXPECT_EQ(quote_name("a\n\x1b[31m"), "'a??[31m'");
  EXPECT_LT(quote_name(std::string(5000, 'x')).size(), 210u);
}

}  // namespace
}  // namespace lanner
