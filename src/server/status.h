// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "lanner/error.h"
#include "server/http.h"

namespace lanner::server {

// The code of errors about the form that an answer should have.
inline constexpr const char* kFormCode = "structured_output";

const char* status_reason(int status);

// The HTTP status of an Error: the one table of them.
int http_status(ErrorCode code);

// A request that is refused: becomes an error object in the shape of OpenAI's API.
class HttpError : public std::exception {
 public:
  HttpError(int status, std::string message, std::string param = {}, std::string code = {})
      : status_(status),
        message_(std::move(message)),
        param_(std::move(param)),
        code_(std::move(code)) {}
  const char* what() const noexcept override { return message_.c_str(); }
  int status() const { return status_; }
  const std::string& code() const { return code_; }

  // Beyond a row of the limits table: its name goes into `code` and the metrics.
  static HttpError limit(int status, const char* name, std::string message, std::string param = {});
  HttpError& retry_after(int seconds) {
    retry_after_ = seconds;
    return *this;
  }
  const std::string& limit_name() const { return limit_; }
  HttpResponse response() const;
  // {"error": {...}} as JSON text, for streams that have begun.
  std::string body() const;

 private:
  int status_;
  std::string message_;
  std::string param_;
  std::string code_;
  std::string limit_;
  int retry_after_ = 0;
};

// Whatever was thrown, as an HttpError; defects are logged and not described to the client.
HttpError to_http_error(const std::exception_ptr& thrown);

}  // namespace lanner::server
