// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace lanner::cli {

// http://HOST[:PORT], without a path.
struct HttpTarget {
  std::string host;
  std::string port;
};
// Throws Error(kInvalidArgument) naming the URL.
HttpTarget parse_target(const std::string& url);

// Sends one request on a connection of its own and reads the answer to its end. on_body gets the
// body in the pieces in which it arrives. Returns the status. Throws Error(kIo).
int http_request(const HttpTarget& target, const std::string& method, const std::string& path,
                 const std::string& authorization, const std::string& body,
                 const std::function<void(std::string_view piece)>& on_body);

}  // namespace lanner::cli
