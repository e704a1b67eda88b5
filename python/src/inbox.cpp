// SPDX-License-Identifier: Apache-2.0
#include "inbox.h"

#include <iterator>

namespace lanner::python {
namespace {

template <typename T>
void append(std::vector<T>& to, std::vector<T>&& from) {
  to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

}  // namespace

void merge(RequestOutput& earlier, RequestOutput&& later) {
  // Counts, finish reason and error are as they stand last; what is new per step adds up.
  earlier.text += later.text;
  append(earlier.token_ids, std::move(later.token_ids));
  append(earlier.logprobs, std::move(later.logprobs));
  append(earlier.prompt_logprobs, std::move(later.prompt_logprobs));
  later.text = std::move(earlier.text);
  later.token_ids = std::move(earlier.token_ids);
  later.logprobs = std::move(earlier.logprobs);
  later.prompt_logprobs = std::move(earlier.prompt_logprobs);
  earlier = std::move(later);
}

void merge(EmbeddingOutput& earlier, EmbeddingOutput&& later) { earlier = std::move(later); }

void merge(ChatOutput& earlier, ChatOutput&& later) {
  merge(earlier.step, std::move(later.step));
  earlier.content += later.content;
  earlier.reasoning += later.reasoning;
  append(earlier.tool_calls, std::move(later.tool_calls));
}

}  // namespace lanner::python
