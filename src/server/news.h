// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lanner/chat.h"

namespace lanner::server {

// One step's news of an answer: a completion's is a chat's whose content is the text.
using News = ChatOutput;
using NewsCallback = ChatCallback;

inline News news_of(const RequestOutput& step) { return {.step = step, .content = step.text}; }

}  // namespace lanner::server
