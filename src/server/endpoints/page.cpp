// SPDX-License-Identifier: Apache-2.0
// GET /: the chat page. It loads nothing from elsewhere, and its policy keeps it so.
#include "server/page.h"

#include "server/endpoints.h"

namespace lanner::server {
namespace {

constexpr const char* kPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' "
    "data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

void answer(const CallPtr& call, const char* type, const char* body) {
  call->exchange->respond({.content_type = std::string(type) + "; charset=utf-8",
                           .headers = {{"Content-Security-Policy", kPolicy},
                                       {"Referrer-Policy", "no-referrer"},
                                       {"X-Frame-Options", "DENY"},
                                       {"Cross-Origin-Opener-Policy", "same-origin"},
                                       {"Cache-Control", "no-cache"}},
                           .body = body});
}

}  // namespace

void handle_page(const CallPtr& call) { answer(call, "text/html", kPageHtml); }
void handle_page_script(const CallPtr& call) { answer(call, "text/javascript", kPageScript); }
void handle_page_style(const CallPtr& call) { answer(call, "text/css", kPageStyle); }

}  // namespace lanner::server
