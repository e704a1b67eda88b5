// SPDX-License-Identifier: Apache-2.0
#include "server/api_keys.h"

#include <algorithm>
#include <cctype>
#include <fstream>
#include <sstream>
#include <string_view>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/sha.h>

#include "base/error.h"

namespace lanner::server {
namespace {

std::string trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r");
  if (begin == std::string_view::npos) return {};
  return std::string(text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1));
}

bool starts_with_word(std::string_view text, std::string_view word) {
  return text.size() > word.size() &&
         std::equal(word.begin(), word.end(), text.begin(), [](char a, char b) {
           return std::tolower(static_cast<unsigned char>(a)) ==
                  std::tolower(static_cast<unsigned char>(b));
         });
}

std::optional<std::string> decode_base64(const std::string& text) {
  if (text.empty() || text.size() % 4 != 0 || text.size() > 4096) return std::nullopt;
  std::string out(text.size() / 4 * 3, '\0');
  const int bytes = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                    reinterpret_cast<const unsigned char*>(text.data()),
                                    static_cast<int>(text.size()));
  if (bytes < 0) return std::nullopt;
  // The padding decodes to zeros.
  out.resize(out.size() - static_cast<size_t>(std::count(text.end() - 2, text.end(), '=')));
  return out;
}

}  // namespace

ApiKeys ApiKeys::load(const std::string& file, const std::string& from_environment) {
  ApiKeys keys;
  if (!file.empty()) {
    std::ifstream stream(file);
    if (!stream) throw_error(ErrorCode::kNotFound, "API key file {} cannot be read", file);
    int number = 0;
    for (std::string line; std::getline(stream, line);) {
      ++number;
      const std::string key = trim(line);
      if (key.empty() || key[0] == '#') continue;
      keys.add(key, fmt::format("{}, line {}", file, number));
    }
    check_argument(!keys.empty(), "API key file {} has no key", file);
  }
  std::istringstream list(from_environment);
  int number = 0;
  for (std::string part; std::getline(list, part, ',');) {
    keys.add(trim(part), fmt::format("LANNER_API_KEYS, entry {}", ++number));
  }
  return keys;
}

void ApiKeys::add(const std::string& key, const std::string& source) {
  check_argument(key.size() >= 8 && key.size() <= 512,
                 "{}: an API key has 8 to 512 characters, this one has {}", source, key.size());
  Digest digest;
  SHA256(reinterpret_cast<const unsigned char*>(key.data()), key.size(), digest.data());
  digests_.push_back(digest);
}

std::optional<std::string> ApiKeys::check(const std::string& key) const {
  Digest digest;
  SHA256(reinterpret_cast<const unsigned char*>(key.data()), key.size(), digest.data());
  size_t found = digests_.size();
  for (size_t i = 0; i < digests_.size(); ++i) {
    // All of them, whichever fits.
    if (CRYPTO_memcmp(digests_[i].data(), digest.data(), digest.size()) == 0) found = i;
  }
  if (found == digests_.size()) return std::nullopt;
  return fmt::format("key{}", found + 1);
}

std::optional<std::string> ApiKeys::from_header(const std::string& authorization) {
  if (starts_with_word(authorization, "bearer ")) return trim(authorization.substr(7));
  if (!starts_with_word(authorization, "basic ")) return std::nullopt;
  const auto decoded = decode_base64(trim(authorization.substr(6)));
  if (!decoded) return std::nullopt;
  const size_t colon = decoded->find(':');
  if (colon == std::string::npos) return std::nullopt;
  return decoded->substr(colon + 1);
}

}  // namespace lanner::server
