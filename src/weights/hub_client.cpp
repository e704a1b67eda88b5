// SPDX-License-Identifier: Apache-2.0
#include "weights/hub_client.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <set>
#include <thread>

#include "base/error.h"
#include "base/json.h"
#include "weights/hub_names.h"
#include "weights/mapped_file.h"

namespace lanner {
namespace {

constexpr int kMaxRedirects = 10;
constexpr int kMaxAttempts = 5;
constexpr double kFirstPause = 0.2;       // seconds; twice as long each time
constexpr double kLongestPause = 60;      // that a hub may ask for
constexpr size_t kMaxListing = 64 << 20;  // bytes of one answer
constexpr int kMaxPages = 1000;

// An answer that may be another one later.
struct TryLater {
  std::string what;
  double seconds = 0;  // that the hub asks to wait; 0: it does not say
};

std::string to_hub_path(const std::string& id, const char* what, const std::string& revision) {
  return fmt::format("/api/models/{}/{}/{}", id, what, url_encoded(revision));
}

// Behind rel="next" of a Link header; empty if there is none.
std::string next_link(const HttpHead& head) {
  const std::string link = head.header("link").value_or("");
  const size_t begin = link.find('<'), end = link.find('>');
  if (begin == std::string::npos || end == std::string::npos || end < begin ||
      link.find("rel=\"next\"", end) == std::string::npos) {
    return "";
  }
  return link.substr(begin + 1, end - begin - 1);
}

template <typename... Args>
[[noreturn]] void throw_final(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  throw FinalError(code, fmt::format(format, std::forward<Args>(args)...));
}

[[noreturn]] void throw_status(int status, const std::string& what, bool has_token) {
  if (status == 401 || status == 403) {
    throw_final(ErrorCode::kIo, "{}: the hub refuses it (status {}): {}", what, status,
                has_token
                    ? "the token has no access, or the model's licence is to be accepted on its "
                      "page first"
                    : "it does not exist or needs a token (LANNER_HUB_TOKEN, --token-file)");
  }
  if (status == 404) throw_final(ErrorCode::kNotFound, "{}: not on the hub", what);
  throw_final(ErrorCode::kIo, "{}: the hub answers with status {}", what, status);
}

HubFile to_file(const Json& entry) {
  const auto bad = [&](const char* why) {
    throw_error(ErrorCode::kCorruptFile, "the hub's listing has an entry {}: {}", why,
                entry.dump().substr(0, 200));
  };
  if (!entry.contains("path") || !entry["path"].is_string()) bad("without a path");
  HubFile file;
  file.path = entry["path"].get<std::string>();
  check_hub_path(file.path);
  const Json lfs = entry.value("lfs", Json());
  file.is_lfs = lfs.is_object();
  const Json& sized = file.is_lfs ? lfs : entry;
  const Json size = sized.value("size", Json()), oid = sized.value("oid", Json());
  if (!size.is_number_unsigned()) bad("without a size");
  file.size = size.get<int64_t>();
  if (file.size < 0) bad("without a size");
  if (!oid.is_string()) bad("without a checksum");
  file.checksum = oid.get<std::string>();
  if (file.checksum.starts_with("sha256:")) file.checksum.erase(0, 7);
  if (!is_hex(file.checksum, file.is_lfs ? 64 : 40)) bad("with a checksum that is none");
  return file;
}

}  // namespace

HubClient::HubClient(Url hub, std::string token, const std::atomic<bool>& stop)
    : hub_(std::move(hub)), token_(std::move(token)), stop_(stop) {
  while (hub_.target.ends_with('/')) hub_.target.pop_back();
}

void HubClient::pause(double seconds) const {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  while (std::chrono::steady_clock::now() < end) {
    if (stop_) throw Error(ErrorCode::kCancelled, "stopped");
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

void HubClient::with_retries(const std::function<void()>& attempt) const {
  double wait = kFirstPause;
  for (int i = 1;; ++i) {
    std::string problem;
    double asked = 0;
    try {
      return attempt();
    } catch (const FinalError&) {
      throw;
    } catch (const TryLater& later) {
      problem = later.what;
      asked = later.seconds;
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kIo) throw;
      problem = error.what();
    }
    if (i == kMaxAttempts) {
      throw_error(ErrorCode::kIo, "{} (tried {} times)", problem, kMaxAttempts);
    }
    pause(std::max(wait, std::min(asked, kLongestPause)));
    wait *= 2;
  }
}

HttpHead HubClient::get(Url url, const std::string& range, const std::string& what,
                        const HttpHeadCallback& on_head, const HttpBodyCallback& on_body) const {
  for (int hop = 0; hop <= kMaxRedirects; ++hop) {
    HttpRequest request{.url = url, .headers = {{"Accept-Encoding", "identity"}}};
    if (!range.empty()) request.headers.emplace_back("Range", range);
    // The token is the hub's business alone, not that of the places it sends to.
    if (!token_.empty() && url.same_origin(hub_)) {
      request.headers.emplace_back("Authorization", "Bearer " + token_);
    }
    bool redirected = false;
    const HttpHead head = http_request(
        request, {.stop = &stop_},
        [&](const HttpHead& answer) {
          redirected = answer.status / 100 == 3 && answer.header("location").has_value();
          if (redirected || answer.status == 416) return false;
          if (answer.status == 429 || answer.status >= 500) {
            double seconds = 0;
            const std::string after = answer.header("retry-after").value_or("");
            std::from_chars(after.data(), after.data() + after.size(), seconds);
            throw TryLater{fmt::format("{}: the hub answers with status {}", what, answer.status),
                           seconds};
          }
          if (answer.status / 100 != 2) throw_status(answer.status, what, !token_.empty());
          return on_head(answer);
        },
        on_body);
    if (!redirected) return head;
    const Url next = resolve_url(url, *head.header("location"));
    if (url.address.tls && !next.address.tls) {
      throw_final(ErrorCode::kIo, "{}: the hub sends from TLS to {}, without it", what,
                  quote_name(next.text()));
    }
    url = next;
  }
  throw_final(ErrorCode::kIo, "{}: the hub sends from place to place without end ({} times)", what,
              kMaxRedirects);
}

std::string HubClient::get_text(const Url& url, const std::string& what, std::string* next) const {
  std::string text;
  with_retries([&] {
    text.clear();
    const HttpHead head = get(
        url, "", what, [](const HttpHead&) { return true; },
        [&](std::string_view piece) {
          text += piece;
          if (text.size() > kMaxListing) {
            throw_error(ErrorCode::kCorruptFile, "{}: the hub's listing has no end", what);
          }
        });
    if (next != nullptr) *next = next_link(head);
  });
  return text;
}

HubListing HubClient::list(const std::string& id, const std::string& revision) const {
  Url url = hub_;
  url.target = hub_.target + to_hub_path(id, "revision", revision);
  const Json model = parse_json(get_text(url, id, nullptr), id + ": the hub's answer");
  HubListing listing;
  const Json commit = model.is_object() ? model.value("sha", Json()) : Json();
  if (!commit.is_string() || !is_hex(commit.get<std::string>(), 40)) {
    throw_error(ErrorCode::kCorruptFile, "{}: the hub names no commit of '{}'", id, revision);
  }
  listing.commit = commit.get<std::string>();
  url.target = hub_.target + to_hub_path(id, "tree", listing.commit) + "?recursive=true";
  std::set<std::string> seen;
  for (int page = 0;; ++page) {
    if (page == kMaxPages) {
      throw_error(ErrorCode::kCorruptFile, "{}: the hub's listing has no end", id);
    }
    std::string next;
    const Json entries = parse_json(get_text(url, id, &next), id + ": the hub's listing");
    if (!entries.is_array()) {
      throw_error(ErrorCode::kCorruptFile, "{}: the hub's listing is no list", id);
    }
    for (const Json& entry : entries) {
      if (entry.is_object() && entry.value("type", "file") != "file") continue;
      HubFile file = to_file(entry);
      if (seen.insert(file.path).second) listing.files.push_back(std::move(file));
    }
    if (next.empty()) return listing;
    url = resolve_url(url, next);
    if (!url.same_origin(hub_)) {
      throw_error(ErrorCode::kCorruptFile, "{}: the hub's listing goes on elsewhere: {}", id,
                  quote_name(url.text()));
    }
  }
}

Url HubClient::file_url(const std::string& id, const std::string& commit,
                        const HubFile& file) const {
  Url url = hub_;
  url.target = fmt::format("{}/{}/resolve/{}/{}", hub_.target, id, commit, url_encoded(file.path));
  return url;
}

bool HubClient::has_ranges(const std::string& id, const std::string& commit,
                           const HubFile& file) const {
  bool partial = false;
  with_retries([&] {
    get(file_url(id, commit, file), "bytes=0-0", file.path,
        [&](const HttpHead& head) {
          partial = head.status == 206;
          return false;
        },
        {});
  });
  return partial;
}

void HubClient::fetch(const std::string& id, const std::string& commit, const HubFile& file,
                      int64_t begin, int64_t end,
                      const std::function<void(std::string_view)>& on_bytes,
                      const std::function<void()>& on_restart) const {
  const bool whole = begin == 0 && end == file.size;
  int64_t at = begin;
  with_retries([&] {
    const std::string range = whole && at == 0 ? "" : fmt::format("bytes={}-{}", at, end - 1);
    const auto accept = [&](const HttpHead& head) {
      if (range.empty() || head.status == 206) {
        const std::string given = head.header("content-range").value_or("");
        if (head.status != 206 || given.starts_with(fmt::format("bytes {}-", at))) return true;
        throw_error(ErrorCode::kIo, "{}: the hub gives '{}' instead of {}", file.path, given,
                    range);
      }
      if (!whole) {
        throw_final(ErrorCode::kIo, "{}: the hub gives all of it instead of {}", file.path, range);
      }
      at = 0;
      on_restart();
      return true;
    };
    const HttpHead head =
        get(file_url(id, commit, file), range, file.path, accept, [&](std::string_view piece) {
          if (static_cast<int64_t>(piece.size()) > end - at) {
            throw_error(ErrorCode::kCorruptFile,
                        "{}: the hub gives more than the {} bytes it lists", file.path, file.size);
          }
          on_bytes(piece);
          at += static_cast<int64_t>(piece.size());
        });
    if (head.status == 416) {
      throw_error(ErrorCode::kCorruptFile, "{}: the hub has no {} of it, though it lists {} bytes",
                  file.path, range, file.size);
    }
    if (at < end) {
      throw_error(ErrorCode::kIo, "{}: the hub's answer ends {} bytes too soon", file.path,
                  end - at);
    }
  });
}

}  // namespace lanner
