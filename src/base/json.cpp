// SPDX-License-Identifier: Apache-2.0
#include "base/json.h"

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/error.h"

namespace lanner {
namespace {

// Builds the value while nlohmann's parser runs, for what its own builder lacks: duplicate keys and
// deep nesting are silent there, and every key of an ordered object is looked for among all before
// it, which turns a few megabytes of keys into hours.
class Builder : public nlohmann::json_sax<Json> {
 public:
  Builder(std::string_view name, int max_depth) : name_(name), max_depth_(max_depth) {}

  Json take() { return std::move(root_); }

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(Json::number_integer_t value) override { return add(value); }
  bool number_unsigned(Json::number_unsigned_t value) override { return add(value); }
  bool number_float(Json::number_float_t value, const std::string&) override { return add(value); }
  bool string(std::string& value) override { return add(std::move(value)); }
  bool binary(Json::binary_t& value) override { return add(std::move(value)); }

  bool start_object(size_t) override {
    open(Json::object());
    keys_.emplace_back();
    return true;
  }
  bool key(std::string& key) override {
    if (!keys_.back().insert(key).second) {
      throw_error(ErrorCode::kCorruptFile, "{}: key '{}' appears twice", name_, key);
    }
    key_ = std::move(key);
    return true;
  }
  bool end_object() override {
    keys_.pop_back();
    open_.pop_back();
    return true;
  }
  bool start_array(size_t) override {
    open(Json::array());
    return true;
  }
  bool end_array() override {
    open_.pop_back();
    return true;
  }

  bool parse_error(size_t, const std::string&, const Json::exception& e) override {
    throw_error(ErrorCode::kCorruptFile, "{}: not valid JSON: {}", name_, e.what());
  }

 private:
  template <typename Value>
  bool add(Value&& value) {
    place(std::forward<Value>(value));
    return true;
  }

  void open(Json container) {
    if (static_cast<int>(open_.size()) >= max_depth_) {
      throw_error(ErrorCode::kCorruptFile, "{}: JSON nested deeper than {} levels", name_,
                  max_depth_);
    }
    open_.push_back(&place(std::move(container)));
  }

  // Pointers to open containers stay valid: each is the last element of the one around it, which
  // does not grow before it is closed.
  Json& place(Json value) {
    if (open_.empty()) return root_ = std::move(value);
    Json& around = *open_.back();
    if (around.is_array()) {
      auto& array = around.get_ref<Json::array_t&>();
      array.push_back(std::move(value));
      return array.back();
    }
    // An ordered object is a vector of pairs; its keys are known to differ.
    using Pairs = Json::object_t::Container;
    Pairs& pairs = around.get_ref<Json::object_t&>();
    pairs.emplace_back(std::move(key_), std::move(value));
    return pairs.back().second;
  }

  std::string_view name_;
  int max_depth_;
  Json root_;
  std::string key_;
  std::vector<Json*> open_;
  std::vector<std::unordered_set<std::string>> keys_;  // of every open object
};

}  // namespace

Json parse_json(std::string_view text, std::string_view name, const JsonLimits& limits) {
  if (text.size() > limits.max_bytes) {
    throw_error(ErrorCode::kCorruptFile, "{}: {} bytes of JSON, at most {} are read", name,
                text.size(), limits.max_bytes);
  }
  Builder builder(name, limits.max_depth);
  Json::sax_parse(text.begin(), text.end(), &builder);
  return builder.take();
}

Json read_json_file(const std::string& path, const JsonLimits& limits) {
  std::error_code failure;
  const auto bytes = std::filesystem::file_size(path, failure);
  if (failure) {
    const bool missing = failure == std::errc::no_such_file_or_directory;
    throw_error(missing ? ErrorCode::kNotFound : ErrorCode::kIo, "{}: {}", path, failure.message());
  }
  if (bytes > limits.max_bytes) {
    throw_error(ErrorCode::kCorruptFile, "{}: {} bytes of JSON, at most {} are read", path, bytes,
                limits.max_bytes);
  }
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file)
    throw_error(ErrorCode::kIo, "{}: cannot be read: {}", path,
                std::generic_category().message(errno));
  return parse_json(text.str(), path, limits);
}

}  // namespace lanner
