// SPDX-License-Identifier: Apache-2.0
#include "base/json.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <vector>

#include "base/error.h"

namespace lanner {
namespace {

// Refuses duplicate keys and deep nesting while nlohmann's parser runs; both are silent there.
class Checker {
 public:
  Checker(std::string_view name, int max_depth) : name_(name), max_depth_(max_depth) {}

  bool operator()(int depth, Json::parse_event_t event, Json& parsed) {
    if (depth > max_depth_) {
      throw_error(ErrorCode::kCorruptFile, "{}: JSON nested deeper than {} levels", name_,
                  max_depth_);
    }
    switch (event) {
      case Json::parse_event_t::object_start:
        keys_.emplace_back();
        break;
      case Json::parse_event_t::object_end:
        keys_.pop_back();
        break;
      case Json::parse_event_t::key: {
        const auto& key = parsed.get_ref<const std::string&>();
        if (!keys_.back().insert(key).second) {
          throw_error(ErrorCode::kCorruptFile, "{}: key '{}' appears twice", name_, key);
        }
        break;
      }
      default:
        break;
    }
    return true;
  }

 private:
  std::string_view name_;
  int max_depth_;
  std::vector<std::set<std::string>> keys_;
};

}  // namespace

Json parse_json(std::string_view text, std::string_view name, const JsonLimits& limits) {
  if (text.size() > limits.max_bytes) {
    throw_error(ErrorCode::kCorruptFile, "{}: {} bytes of JSON, at most {} are read", name,
                text.size(), limits.max_bytes);
  }
  try {
    return Json::parse(text.begin(), text.end(), Checker(name, limits.max_depth));
  } catch (const Json::exception& e) {
    throw_error(ErrorCode::kCorruptFile, "{}: not valid JSON: {}", name, e.what());
  }
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
  if (!file) throw_error(ErrorCode::kIo, "{}: cannot be read: {}", path, std::strerror(errno));
  return parse_json(text.str(), path, limits);
}

}  // namespace lanner
