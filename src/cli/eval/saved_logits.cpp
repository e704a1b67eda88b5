// SPDX-License-Identifier: Apache-2.0
#include "cli/eval/saved_logits.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <system_error>

#include <fmt/format.h>

#include "base/utf8.h"
#include "cli/failure.h"

namespace lanner::cli {
namespace {

static_assert(std::endian::native == std::endian::little, "files are little-endian");

constexpr std::string_view kMagic = "LNRLOGP1";
constexpr uint32_t kLongestDescription = 4096;
constexpr float kLargestBelow = 65535.0f;

struct Header {
  char magic[8];
  uint64_t model, text;
  uint32_t vocabulary, description_bytes;
  uint64_t rows;
};
static_assert(sizeof(Header) == 40);

struct Row {
  float top, step;
};

// FNV-1a: keeps files apart that were mixed up.
class Hash {
 public:
  void add(std::string_view bytes) {
    for (char byte : bytes) {
      value_ = (value_ ^ static_cast<unsigned char>(byte)) * uint64_t{0x100000001b3};
    }
  }
  void add(uint64_t number) {
    add(std::string_view(reinterpret_cast<const char*>(&number), sizeof number));
  }
  uint64_t value() const { return value_; }

 private:
  uint64_t value_ = 0xcbf29ce484222325;
};

int64_t row_bytes(uint32_t vocabulary) {
  return static_cast<int64_t>(sizeof(Row)) + int64_t{vocabulary} * 2;
}

Failure bad_file(const std::string& path, const std::string& what, std::string hint = {}) {
  return Failure(exit_code(ErrorCode::kInvalidArgument), path + " " + what, std::move(hint));
}

template <typename T>
void read_into(std::ifstream& file, T* to, size_t count, const std::string& path) {
  file.read(reinterpret_cast<char*>(to), static_cast<std::streamsize>(count * sizeof(T)));
  if (!file) throw bad_file(path, "ends in the middle of its logits");
}

bool is_plain_text(const std::string& text) {
  return !find_invalid_utf8(text) && std::ranges::none_of(text, [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte < 0x20 || byte == 0x7f;
  });
}

}  // namespace

SavedLogitsKey saved_logits_key(const Json& model, std::span<const EvalWindow> windows) {
  Hash of_model, of_text;
  for (const char* name : {"model_type", "num_layers", "hidden_size", "num_heads", "num_kv_heads",
                           "head_dim", "vocab_size"}) {
    of_model.add(model.at(name).dump());
    of_model.add("\n");
  }
  SavedLogitsKey key;
  for (const EvalWindow& window : windows) {
    of_text.add(window.tokens.size());
    of_text.add(window.score_from);
    for (int32_t token : window.tokens) of_text.add(static_cast<uint64_t>(token));
    key.rows += window.tokens.size() - window.score_from;
  }
  key.model = of_model.value();
  key.text = of_text.value();
  key.vocabulary = model.at("vocab_size").get<uint32_t>();
  return key;
}

int64_t saved_logits_bytes(const SavedLogitsKey& key, const std::string& configuration) {
  return static_cast<int64_t>(sizeof(Header) + configuration.size()) +
         static_cast<int64_t>(key.rows) * row_bytes(key.vocabulary);
}

SavedLogitsWriter::SavedLogitsWriter(std::string path, const SavedLogitsKey& key,
                                     const std::string& configuration)
    : path_(std::move(path)), temporary_(path_ + ".part") {
  if (std::filesystem::is_directory(path_)) {
    throw usage_failure(path_ + " is a folder, not a file for logits");
  }
  const int64_t bytes = saved_logits_bytes(key, configuration);
  std::error_code error;
  const auto folder = std::filesystem::absolute(path_, error).parent_path();
  const auto space = std::filesystem::space(folder, error);
  if (!error && space.available < static_cast<uintmax_t>(bytes)) {
    throw Failure(exit_code(ErrorCode::kResourceExhausted),
                  fmt::format("{} would take {:.2f} GB ({} rows of {} logits), and the disk has "
                              "{:.2f} GB left",
                              path_, static_cast<double>(bytes) / 1e9, key.rows, key.vocabulary,
                              static_cast<double>(space.available) / 1e9),
                  "give a shorter text");
  }
  below_.resize(key.vocabulary);
  file_.open(temporary_, std::ios::binary | std::ios::trunc);
  if (!file_) {
    throw Failure(exit_code(ErrorCode::kNotFound),
                  fmt::format("cannot write {}: {}", path_, std::strerror(errno)));
  }
  Header header{
      {},      key.model, key.text, key.vocabulary, static_cast<uint32_t>(configuration.size()),
      key.rows};
  kMagic.copy(header.magic, sizeof header.magic);
  file_.write(reinterpret_cast<const char*>(&header), sizeof header);
  file_.write(configuration.data(), static_cast<std::streamsize>(configuration.size()));
  check_stream();
}

SavedLogitsWriter::~SavedLogitsWriter() {
  if (finished_) return;
  file_.close();
  std::error_code ignored;
  std::filesystem::remove(temporary_, ignored);
}

void SavedLogitsWriter::check_stream() {
  if (file_) return;
  throw Failure(exit_code(ErrorCode::kResourceExhausted),
                fmt::format("cannot write {}: {}", path_, std::strerror(errno)));
}

void SavedLogitsWriter::add(std::span<const float> logits) {
  const auto top_at = std::ranges::max_element(logits) - logits.begin();
  const float top = logits[static_cast<size_t>(top_at)];
  const auto nll =
      static_cast<float>(negative_log_likelihood(logits, static_cast<int32_t>(top_at)));
  const float range = std::min(top - *std::ranges::min_element(logits), kSavedLogitsRange);
  if (!std::isfinite(nll) || !std::isfinite(range)) {
    throw Failure(kExitFailure, "the model gives logits that are no numbers: nothing to save");
  }
  const Row row{-nll, range / kLargestBelow};
  const float inverse = range > 0 ? kLargestBelow / range : 0.0f;
  for (size_t i = 0; i < logits.size(); ++i) {
    // The most probable token stays the only one at the top.
    const float below = std::clamp((top - logits[i]) * inverse, 1.0f, kLargestBelow);
    below_[i] = static_cast<uint16_t>(std::lround(below));
  }
  below_[static_cast<size_t>(top_at)] = 0;
  file_.write(reinterpret_cast<const char*>(&row), sizeof row);
  file_.write(reinterpret_cast<const char*>(below_.data()),
              static_cast<std::streamsize>(below_.size() * sizeof below_[0]));
  check_stream();
}

void SavedLogitsWriter::finish() {
  file_.close();
  check_stream();
  std::error_code error;
  std::filesystem::rename(temporary_, path_, error);
  if (error) {
    throw Failure(kExitFailure, fmt::format("cannot write {}: {}", path_, error.message()));
  }
  finished_ = true;
}

SavedLogitsReader::SavedLogitsReader(std::string path, const SavedLogitsKey& key)
    : path_(std::move(path)) {
  std::error_code error;
  if (std::filesystem::is_directory(path_, error)) {
    throw bad_file(path_, "is a folder, not a file of saved logits");
  }
  file_.open(path_, std::ios::binary);
  if (!file_) {
    throw Failure(exit_code(ErrorCode::kNotFound),
                  fmt::format("cannot read {}: {}", path_, std::strerror(errno)));
  }
  Header header{};
  file_.read(reinterpret_cast<char*>(&header), sizeof header);
  if (!file_ || std::string_view(header.magic, sizeof header.magic) != kMagic ||
      header.description_bytes > kLongestDescription) {
    throw bad_file(path_, "holds no saved logits", "--save-logits writes such files");
  }
  if (header.model != key.model || header.vocabulary != key.vocabulary) {
    throw bad_file(path_, "holds logits of another model: family, sizes and vocabulary differ");
  }
  if (header.text != key.text || header.rows != key.rows) {
    throw bad_file(path_, "holds logits of another text, --window or --stride");
  }
  configuration_.resize(header.description_bytes);
  read_into(file_, configuration_.data(), configuration_.size(), path_);
  if (!is_plain_text(configuration_)) {
    throw bad_file(path_, "is damaged: its description is no plain text");
  }
  const auto bytes = std::filesystem::file_size(path_, error);
  const int64_t expected = saved_logits_bytes(key, configuration_);
  if (!error && bytes != static_cast<uintmax_t>(expected)) {
    throw bad_file(path_, fmt::format("is damaged: it has {} bytes, expected {}", bytes, expected));
  }
  below_.resize(key.vocabulary);
  row_.resize(key.vocabulary);
}

std::span<const float> SavedLogitsReader::next() {
  Row row{};
  read_into(file_, &row, 1, path_);
  read_into(file_, below_.data(), below_.size(), path_);
  // Neither is true of a NaN.
  const bool is_top = row.top <= 1e-3f && row.top > -1e3f;
  const bool is_step = row.step >= 0 && row.step <= kSavedLogitsRange / kLargestBelow * 1.001f;
  if (!is_top || !is_step) throw bad_file(path_, "is damaged: a row is no probabilities");
  for (size_t i = 0; i < row_.size(); ++i) {
    row_[i] = row.top - row.step * static_cast<float>(below_[i]);
  }
  return row_;
}

}  // namespace lanner::cli
