// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace lanner::server {

// The keys that clients may come with; only their digests are kept.
class ApiKeys {
 public:
  // One key per line of the file ("" for none), '#' starts a comment; `from_environment` is a list
  // with commas. Throws Error: kNotFound, kInvalidArgument for a key under 8 or over 512
  // characters, or a file without any.
  static ApiKeys load(const std::string& file, const std::string& from_environment);

  bool empty() const { return digests_.empty(); }
  // A short name of the key for accounting, if it is one of ours. Takes the same time for every key
  // of a length.
  std::optional<std::string> check(const std::string& key) const;
  // The key in `Authorization: Bearer KEY` or, as browsers send it, `Basic base64(user:KEY)`.
  static std::optional<std::string> from_header(const std::string& authorization);

 private:
  using Digest = std::array<uint8_t, 32>;
  void add(const std::string& key, const std::string& source);
  std::vector<Digest> digests_;
};

}  // namespace lanner::server
