// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lanner/llm.h"
#include "server/app.h"
#include "server/news.h"
#include "server/status.h"

namespace lanner::server {

// Tokens of one HTTP request, all its prompts and answers together.
struct Usage {
  int prompt_tokens = 0;
  int output_tokens = 0;
  int cached_tokens = 0;
};

// Turns news of answers into the bytes of an endpoint. Used on the I/O thread alone.
class Formatter {
 public:
  virtual ~Formatter() = default;
  // Whether answers are made of tokens, and not a vector.
  virtual bool has_tokens() const { return true; }
  // The first bytes of a stream.
  virtual std::string begin() { return {}; }
  // Of one answer: prompt times n + index. Returns events where the answer streams.
  virtual std::string on_news(int answer, const News& news) = 0;
  // The last bytes of a stream.
  virtual std::string end(const Usage& usage) = 0;
  // The whole answer where it does not stream.
  virtual Json result(const Usage& usage) = 0;
  // An error in a stream that has begun.
  virtual std::string error(const HttpError& error);
};

// What a request asks of the model.
struct GenerationPlan {
  Model* model = nullptr;
  // One per prompt: submits it to the model.
  std::vector<std::function<RequestId(LLM& llm, NewsCallback on_news)>> prompts;
  int answers_per_prompt = 1;
  int slots_per_prompt = 1;  // sequences that run at once for it
  bool may_wait = false;     // prompts beyond the server's sequences wait in the engine
  bool stream = false;
  std::unique_ptr<Formatter> formatter;
};

// One HTTP request's way through the queue and the engine: waits for its place, submits, passes on
// what comes, and ends everything when the client goes away. The status line goes out with the
// first news, or after a keep-alive interval once the engine has the request.
class Generation : public std::enable_shared_from_this<Generation> {
 public:
  // On a worker. Throws HttpError where the queue refuses it.
  static void start(const std::shared_ptr<Call>& call, GenerationPlan plan);

  // Ends it without an answer: the client is gone.
  void cancel();
  // Ends it with an error: the server stops.
  void stop();
  // On the I/O thread, now and then while it is under way: what time brings. No timer per request,
  // which would outlive it.
  void tick(std::chrono::steady_clock::time_point now);

  Generation(std::shared_ptr<Call> call, GenerationPlan plan);

 private:
  using Clock = std::chrono::steady_clock;
  void granted();
  void submit();
  void receive(size_t prompt, const News& news);
  void drain_inbox();
  void handle(size_t prompt, const News& news);
  void begin_stream();
  void fail(const std::exception_ptr& thrown);
  void fail(const HttpError& error);
  // Ends what the engine has of it; false if it had been done before.
  bool abort_prompts();
  void complete();
  void release();
  void end_prompt();
  void measure(int answer, const News& news);

  const std::shared_ptr<Call> call_;
  GenerationPlan plan_;
  App& app_;
  Admission::Ticket ticket_ = 0;
  const Clock::time_point queued_ = Clock::now();

  std::mutex mutex_;  // of what follows
  std::vector<std::pair<size_t, News>> inbox_;
  bool inbox_posted_ = false;
  std::optional<Clock::time_point> granted_at_;  // unset: it waits
  bool cancelled_ = false;
  std::vector<RequestId> ids_;
  size_t submitted_ = 0;  // prompts the engine has
  size_t ended_ = 0;      // of these
  bool all_submitted_ = false;
  bool released_ = false;

  // On the I/O thread.
  bool streaming_ = false;
  bool answered_ = false;
  bool first_token_ = false;
  std::vector<Clock::time_point> last_token_;
  std::vector<Usage> usage_;  // of each answer
};

}  // namespace lanner::server
