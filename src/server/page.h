// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace lanner::server {

// The files of page/, put into the binary at build time.
extern const char* const kPageHtml;
extern const char* const kPageScript;
extern const char* const kPageStyle;

}  // namespace lanner::server
