// SPDX-License-Identifier: Apache-2.0
#include "distributed/job_secret.h"

#include <cstring>
#include <vector>

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include "base/error.h"

namespace lanner {
namespace {

constexpr size_t kFewestCharacters = 16;

void append(std::vector<unsigned char>& text, const void* data, uint64_t bytes) {
  const auto* length = reinterpret_cast<const unsigned char*>(&bytes);
  text.insert(text.end(), length, length + sizeof(bytes));
  const auto* begin = static_cast<const unsigned char*>(data);
  text.insert(text.end(), begin, begin + bytes);
}

}  // namespace

JobSecret::JobSecret(std::string_view secret) : key_(secret) {
  check_argument(secret.size() >= kFewestCharacters,
                 "[distributed] the job's secret has {} characters; at least {} are needed",
                 secret.size(), kFewestCharacters);
}

JobSecret::JobSecret(const Mac& key)
    : key_(reinterpret_cast<const char*>(key.data()), key.size()) {}

Mac JobSecret::mac(std::string_view purpose,
                   std::initializer_list<std::span<const std::byte>> parts) const {
  std::vector<unsigned char> text;
  append(text, purpose.data(), purpose.size());
  for (const auto& part : parts) append(text, part.data(), part.size());
  Mac mac;
  unsigned int length = 0;
  const unsigned char* done =
      HMAC(EVP_sha256(), key_.data(), static_cast<int>(key_.size()), text.data(), text.size(),
           reinterpret_cast<unsigned char*>(mac.data()), &length);
  LANNER_CHECK(done != nullptr && length == mac.size());
  return mac;
}

JobSecret JobSecret::derive(std::string_view purpose, const Nonce& a, const Nonce& b) const {
  return JobSecret(mac(purpose, {a, b}));
}

bool are_equal(const Mac& a, const Mac& b) {
  return CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

Nonce make_nonce() {
  Nonce nonce;
  LANNER_CHECK(RAND_bytes(reinterpret_cast<unsigned char*>(nonce.data()),
                          static_cast<int>(nonce.size())) == 1);
  return nonce;
}

std::string make_secret() {
  std::string text;
  for (const std::byte byte : make_nonce()) {
    text += fmt::format("{:02x}", static_cast<unsigned>(byte));
  }
  return text;
}

}  // namespace lanner
