// SPDX-License-Identifier: Apache-2.0
#include "server/status.h"

#include "base/json.h"
#include "base/log.h"

namespace lanner::server {
namespace {

const char* error_type(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 429:
      return "rate_limit_error";
    case 503:
      return "service_unavailable_error";
    default:
      return status >= 500 ? "server_error" : "invalid_request_error";
  }
}

}  // namespace

const char* status_reason(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 204:
      return "No Content";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 413:
      return "Content Too Large";
    case 415:
      return "Unsupported Media Type";
    case 421:
      return "Misdirected Request";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 499:
      return "Client Closed Request";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    default:
      return "Error";
  }
}

int http_status(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kUnsupported:
    case ErrorCode::kCorruptFile:  // the request's JSON: the model's files were read before
      return 400;
    case ErrorCode::kNotFound:
      return 404;
    case ErrorCode::kResourceExhausted:
    case ErrorCode::kCancelled:  // the engine is going down
      return 503;
    case ErrorCode::kIo:
    case ErrorCode::kInternal:
      return 500;
  }
  return 500;
}

HttpError HttpError::limit(int status, const char* name, std::string message, std::string param) {
  HttpError error(status, std::move(message), std::move(param), std::string("limit_") + name);
  error.limit_ = name;
  if (status == 429 || status == 503) error.retry_after_ = 1;
  return error;
}

std::string HttpError::body() const {
  Json error;
  error["message"] = message_;
  error["type"] = error_type(status_);
  error["param"] = param_.empty() ? Json(nullptr) : Json(param_);
  error["code"] = code_.empty() ? Json(nullptr) : Json(code_);
  return Json{{"error", error}}.dump(-1, ' ', false, Json::error_handler_t::replace);
}

HttpResponse HttpError::response() const {
  HttpResponse response{.status = status_, .body = body()};
  if (retry_after_ > 0) response.headers.emplace_back("Retry-After", std::to_string(retry_after_));
  if (status_ == 401) response.headers.emplace_back("WWW-Authenticate", "Bearer");
  return response;
}

HttpError to_http_error(const std::exception_ptr& thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const HttpError& error) {
    return error;
  } catch (const Error& error) {
    const int status = http_status(error.code());
    if (status == 500) log_warn("a request failed: {}", error.what());
    const bool about_form =
        status == 400 && std::string_view(error.what()).starts_with("[structured]");
    HttpError made(status, status == 500 ? "the server failed; its log says why" : error.what(), {},
                   about_form ? kFormCode : "");
    if (status == 503) made.retry_after(1);
    return made;
  } catch (const std::bad_alloc&) {
    log_warn("a request ran out of memory");
    return HttpError(503, "the server is out of memory").retry_after(1);
  } catch (const std::exception& error) {
    log_warn("a request failed: {}", error.what());
    return HttpError(500, "the server failed; its log says why");
  }
}

}  // namespace lanner::server
