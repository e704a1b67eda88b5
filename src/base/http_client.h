// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/net_stream.h"

namespace lanner {

// http://HOST[:PORT][/PATH][?QUERY], or https.
struct Url {
  NetAddress address;
  std::string target = "/";  // path and query

  bool same_origin(const Url& other) const;
  std::string text() const;
};

// Throws Error(kInvalidArgument) naming the text: another scheme, a user's name in it, blanks.
Url parse_url(std::string_view text);
// What a Location header of an answer from `base` means. Throws as parse_url.
Url resolve_url(const Url& base, std::string_view location);

struct HttpRequest {
  std::string method = "GET";
  Url url = {};
  std::vector<std::pair<std::string, std::string>> headers = {};
  std::string body = {};
};

struct HttpHead {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case

  std::optional<std::string> header(const std::string& name) const;
};

// False: the body is not wanted, the connection is closed.
using HttpHeadCallback = std::function<bool(const HttpHead& head)>;
using HttpBodyCallback = std::function<void(std::string_view piece)>;

// Sends one request over a connection of its own (HTTP/1.1) and reads the answer to its end;
// redirections are answers like others. on_body gets the body in the pieces in which it arrives.
// What the callbacks throw ends it. Throws Error(kIo) naming the host, also for an answer that
// breaks off or is no HTTP, and Error(kCancelled).
HttpHead http_request(const HttpRequest& request, const NetOptions& options,
                      const HttpHeadCallback& on_head, const HttpBodyCallback& on_body);

}  // namespace lanner
