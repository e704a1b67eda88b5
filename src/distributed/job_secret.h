// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

namespace lanner {

using Nonce = std::array<std::byte, 32>;
using Mac = std::array<std::byte, 32>;

// A key that never travels: the secret that the ranks of a job share, or what is derived from it.
class JobSecret {
 public:
  // Throws Error(kInvalidArgument) for fewer than 16 characters.
  explicit JobSecret(std::string_view secret);

  // HMAC-SHA256 of a purpose and the parts, each with its length, so that no two lists of parts
  // are the same text.
  Mac mac(std::string_view purpose, std::initializer_list<std::span<const std::byte>> parts) const;
  // A secret for one connection.
  JobSecret derive(std::string_view purpose, const Nonce& a, const Nonce& b) const;

 private:
  explicit JobSecret(const Mac& key);
  std::string key_;
};

// In a time that does not tell how many bytes agree.
bool are_equal(const Mac& a, const Mac& b);

// From the system's generator. Throws Error(kInternal) if it has none.
Nonce make_nonce();
// A secret for ranks that are started by this process, in hexadecimal.
std::string make_secret();

}  // namespace lanner
