// SPDX-License-Identifier: Apache-2.0
// Files under tests/tokenizers/, and folders that a test makes for itself.
#pragma once

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/json.h"
#include "text/tokenizer.h"

namespace lanner {

inline std::string vectors_folder(const std::string& name) {
  return std::string(LANNER_TOKENIZER_TESTS) + "/" + name;
}

inline std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  EXPECT_TRUE(file) << path;
  return text.str();
}

// A folder that is empty at first and goes away with the object.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = std::filesystem::temp_directory_path() / "lanner-text-XXXXXX";
    path_ = mkdtemp(pattern.data());
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }

  const std::string& path() const { return path_; }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(path_ + "/" + name, std::ios::binary) << text;
  }
  void copy(const std::string& family, const std::string& name) const {
    write(name, read_text(vectors_folder(family) + "/" + name));
  }

 private:
  std::string path_;
};

inline bool is_utf8(const std::string& text) {
  try {
    static_cast<void>(Json(text).dump());
    return true;
  } catch (const Json::exception&) {
    return false;
  }
}

// What a StreamDecoder makes of the ids; checks that every piece is valid UTF-8.
inline std::string streamed(const Tokenizer& tokenizer, const std::vector<int32_t>& ids,
                            bool skip_special) {
  StreamDecoder decoder(tokenizer, skip_special);
  std::string text;
  for (size_t i = 0; i <= ids.size(); ++i) {
    const std::string piece = i < ids.size() ? decoder.push(ids[i]) : decoder.flush();
    EXPECT_TRUE(is_utf8(piece)) << "piece " << i << " of " << text;
    text += piece;
  }
  return text;
}

}  // namespace lanner
