// SPDX-License-Identifier: Apache-2.0
#include "distributed/lobby.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <list>
#include <type_traits>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <sys/utsname.h>

#include "base/error.h"
#include "base/log.h"

namespace lanner {
namespace {

using Clock = std::chrono::steady_clock;

constexpr uint64_t kMagic = 0x315a44524e4e414c;  // "LANNRDZ1"
// Of the messages below and the frames of a Rendezvous.
constexpr uint64_t kProtocol = 1;
constexpr std::chrono::seconds kHandshakeTime{10};
// Connections that have not proved themselves; the oldest goes when another comes.
constexpr size_t kMaxStrangers = 64;
constexpr int kMaxRanks = 1024;

// The first two fields of both messages are of every protocol.
struct Challenge {
  uint64_t magic = kMagic;
  uint64_t protocol = kProtocol;
  Nonce nonce;
};

struct Request {
  uint64_t magic = kMagic;
  uint64_t protocol = kProtocol;
  int32_t rank;  // -1: any
  int32_t size;  // 0: any
  Nonce nonce;
  std::array<char, 32> version;
  std::array<char, 72> host;
  Mac mac;  // of all before it, and the challenge's nonce
};

enum class Verdict : uint32_t { kWelcome = 1, kRefused = 2 };

struct Answer {
  Verdict verdict;
  int32_t rank;
  int32_t size;
  int32_t silent_ms;
  std::array<char, 512> reason;
  Mac mac;  // of all before it, and both nonces
};

static_assert(std::has_unique_object_representations_v<Challenge> &&
              std::has_unique_object_representations_v<Request> &&
              std::has_unique_object_representations_v<Answer>);

template <typename T>
std::span<const std::byte> bytes_of(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

template <size_t N>
void put(std::array<char, N>& field, std::string_view text) {
  field.fill('\0');
  std::ranges::copy(text.substr(0, N - 1), field.begin());
}

// What a message holds, whoever sent it: printable characters up to the first zero.
template <size_t N>
std::string get(const std::array<char, N>& field) {
  std::string text(field.data(), strnlen(field.data(), N));
  std::ranges::replace_if(text, [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '?');
  return text;
}

Mac mac_of(const Request& request, const Nonce& challenge, const JobSecret& secret) {
  return secret.mac("request", {challenge, bytes_of(request).first(offsetof(Request, mac))});
}

Mac mac_of(const Answer& answer, const Nonce& challenge, const Nonce& request,
           const JobSecret& secret) {
  return secret.mac("answer", {challenge, request, bytes_of(answer).first(offsetof(Answer, mac))});
}

void check_options(const RendezvousOptions& options) {
  check_argument(options.size >= 0 && options.size <= kMaxRanks,
                 "[distributed] {} ranks; at most {} are possible", options.size, kMaxRanks);
  check_argument(options.rank >= -1 && (options.size == 0 || options.rank < options.size),
                 "[distributed] rank {} of {} ranks", options.rank, options.size);
}

// Rank 0's side.
class Lobby {
 public:
  explicit Lobby(const RendezvousOptions& options)
      : options_(options), secret_(options.secret), listener_(options.address) {
    if (options.on_listening) options.on_listening(listener_.port());
  }

  Job wait() {
    const Deadline deadline = Clock::now() + options_.timeout;
    try {
      while (present_.size() + 1 < static_cast<size_t>(options_.size)) {
        if (Clock::now() >= deadline) throw_missing();
        if (options_.on_wait) options_.on_wait();
        look(deadline);
      }
      return begin();
    } catch (const Error& error) {
      // Who has proved itself is told why the job does not begin.
      for (Member& member : present_) answer(member, Verdict::kRefused, -1, error.what());
      throw;
    }
  }

 private:
  struct Stranger {
    TcpSocket socket;
    Nonce challenge;
    std::array<std::byte, sizeof(Request)> received;
    size_t count = 0;
    Deadline deadline;
  };
  struct Member {
    TcpSocket socket;
    Nonce challenge;
    Request request;
  };

  void look(Deadline deadline) {
    std::vector<pollfd> entries = {{listener_.descriptor(), POLLIN, 0}};
    for (const Stranger& s : strangers_) entries.push_back({s.socket.descriptor(), POLLIN, 0});
    for (const Member& m : present_) entries.push_back({m.socket.descriptor(), POLLIN, 0});
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    poll(entries.data(), entries.size(),
         static_cast<int>(std::clamp<int64_t>(left.count(), 0, 200)));

    size_t entry = 1;
    for (auto s = strangers_.begin(); s != strangers_.end();) {
      const bool is_ready = entries[entry++].revents != 0;
      const bool stays = is_ready ? hear(*s) : Clock::now() < s->deadline;
      if (!is_ready && !stays) turn_away(s->socket, "it said nothing");
      s = stays ? std::next(s) : strangers_.erase(s);
    }
    // Nobody speaks between its request and the answer: it has gone, and its place is free. Those
    // that have come just now were not asked.
    const size_t asked = entries.size() - entry;
    for (size_t m = asked; m-- > 0;) {
      if (entries[entry + m].revents == 0) continue;
      log_warn("[distributed] the rank at {} has left before the job began",
               present_[m].socket.peer_name());
      present_.erase(present_.begin() + static_cast<std::ptrdiff_t>(m));
    }
    if (entries[0].revents != 0) accept();
  }

  void accept() {
    while (auto socket = listener_.accept()) {
      const Nonce nonce = make_nonce();
      const Challenge challenge{.nonce = nonce};
      try {
        socket->send_all(bytes_of(challenge), Clock::now());
      } catch (const Error&) {
        continue;  // it has gone already
      }
      if (strangers_.size() == kMaxStrangers) {
        turn_away(strangers_.front().socket, "too many others came");
        strangers_.pop_front();
      }
      strangers_.push_back({.socket = std::move(*socket),
                            .challenge = nonce,
                            .received = {},
                            .deadline = Clock::now() + kHandshakeTime});
    }
  }

  // Whether more is to come. Throws if the job cannot begin with this rank.
  bool hear(Stranger& stranger) {
    const auto count =
        stranger.socket.receive_some(std::span(stranger.received).subspan(stranger.count));
    if (!count) {
      turn_away(stranger.socket, "it closed the connection");
      return false;
    }
    stranger.count += *count;
    // What does not begin like a rank's request need not be waited for.
    Request request;
    std::memcpy(&request, stranger.received.data(), sizeof(request));
    if (stranger.count >= sizeof(request.magic) && request.magic != kMagic) {
      turn_away(stranger.socket, "it is no rank of Lanner");
      return false;
    }
    if (stranger.count < sizeof(request)) return true;
    judge({std::move(stranger.socket), stranger.challenge, request});
    return false;
  }

  void judge(Member member) {
    const Request& request = member.request;
    if (request.protocol != kProtocol) {
      return refuse(member, fmt::format("it speaks version {} of the ranks' protocol, rank 0 "
                                        "version {}",
                                        request.protocol, kProtocol));
    }
    if (!are_equal(request.mac, mac_of(request, member.challenge, secret_))) {
      return refuse(member, "its secret is not that of the job");
    }
    const std::string name =
        fmt::format("the rank at {} (host {})", member.socket.peer_name(), get(request.host));
    std::string difference;
    if (get(request.version) != options_.version) {
      difference = fmt::format("{} is Lanner {}, rank 0 is {}", name, get(request.version),
                               options_.version);
    } else if (request.size != 0 && request.size != options_.size) {
      difference =
          fmt::format("{} expects {} ranks, rank 0 expects {}", name, request.size, options_.size);
    }
    if (!difference.empty()) {
      refuse(member, difference);
      throw_error(ErrorCode::kIo, "[distributed] {}", difference);
    }
    const bool is_taken = std::ranges::any_of(present_, [&](const Member& other) {
      return request.rank >= 0 && other.request.rank == request.rank;
    });
    if (is_taken || request.rank == 0 || request.rank < -1 || request.rank >= options_.size) {
      return refuse(
          member, fmt::format("rank {} of {} is {}", request.rank, options_.size,
                              is_taken || request.rank == 0 ? "there already" : "none of the job"));
    }
    log_info("[distributed] {} has come", name);
    present_.push_back(std::move(member));
  }

  void refuse(Member& member, const std::string& reason) {
    answer(member, Verdict::kRefused, -1, reason);
    turn_away(member.socket, reason);
  }

  void turn_away(const TcpSocket& socket, const std::string& reason) {
    last_turned_away_ = fmt::format("{}: {}", socket.peer_name(), reason);
    log_warn("[distributed] turned away {}", last_turned_away_);
  }

  void answer(Member& member, Verdict verdict, int rank, const std::string& reason) {
    Answer answer{.verdict = verdict,
                  .rank = rank,
                  .size = options_.size,
                  .silent_ms = static_cast<int32_t>(options_.silent_time.count()),
                  .reason = {},
                  .mac = {}};
    put(answer.reason, reason);
    answer.mac = mac_of(answer, member.challenge, member.request.nonce, secret_);
    try {
      member.socket.send_all(bytes_of(answer), Clock::now() + std::chrono::seconds(1));
    } catch (const Error&) {
      // Its own wait ends without an answer, too; a rank that was welcome is missed at once.
    }
  }

  [[noreturn]] void throw_missing() const {
    const std::string last =
        last_turned_away_.empty() ? "" : fmt::format("; turned away: {}", last_turned_away_);
    throw_error(ErrorCode::kIo, "[distributed] {} of {} ranks have come to {}:{} within {} s{}",
                present_.size() + 1, options_.size, options_.address.host, listener_.port(),
                std::chrono::ceil<std::chrono::seconds>(options_.timeout).count(), last);
  }

  Job begin() {
    // Those without a wish: in the order of their hosts, so that a host's ranks are neighbours.
    std::ranges::stable_sort(present_, {}, [](const Member& m) {
      return std::tuple(m.request.rank < 0, get(m.request.host));
    });
    std::vector<bool> is_taken(static_cast<size_t>(options_.size), false);
    is_taken[0] = true;
    for (Member& member : present_) {
      int32_t& rank = member.request.rank;
      if (rank < 0) {
        rank = static_cast<int32_t>(std::ranges::find(is_taken, false) - is_taken.begin());
      }
      is_taken[static_cast<size_t>(rank)] = true;
    }
    std::ranges::sort(present_, {}, [](const Member& m) { return m.request.rank; });
    Job job{.rank = 0, .size = options_.size, .silent_time = options_.silent_time, .links = {}};
    for (Member& m : present_) {
      answer(m, Verdict::kWelcome, m.request.rank, "");
      job.links.push_back({.socket = std::move(m.socket),
                           .key = secret_.derive("connection", m.challenge, m.request.nonce),
                           .rank = m.request.rank});
    }
    return job;
  }

  const RendezvousOptions& options_;
  const JobSecret secret_;
  TcpListener listener_;
  std::list<Stranger> strangers_;
  std::vector<Member> present_;
  std::string last_turned_away_;
};

}  // namespace

HostName this_host() {
  utsname names = {};
  uname(&names);
  std::string boot;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> boot;
  return {.name = names.nodename, .boot = boot};
}

Job wait_for_ranks(const RendezvousOptions& options) {
  check_options(options);
  check_argument(options.rank == 0 && options.size >= 1,
                 "[distributed] rank 0 has to know the number of ranks");
  return Lobby(options).wait();
}

Job join_ranks(const RendezvousOptions& options) {
  check_options(options);
  check_argument(options.rank != 0, "[distributed] rank 0 is waited for, it does not join");
  const JobSecret secret(options.secret);
  const Deadline deadline = Clock::now() + options.timeout;
  TcpSocket socket = TcpSocket::connect(options.address, deadline);

  Challenge challenge;
  socket.receive_all(std::as_writable_bytes(std::span(&challenge, 1)),
                     std::min<Deadline>(deadline, Clock::now() + kHandshakeTime));
  if (challenge.magic != kMagic) {
    throw_error(ErrorCode::kIo, "[distributed] {} is no rank 0 of Lanner", socket.peer_name());
  }
  Request request{.rank = options.rank,
                  .size = options.size,
                  .nonce = make_nonce(),
                  .version = {},
                  .host = {},
                  .mac = {}};
  put(request.version, options.version);
  put(request.host, this_host().name);
  request.mac = mac_of(request, challenge.nonce, secret);
  socket.send_all(bytes_of(request), deadline);
  if (challenge.protocol != kProtocol) {
    throw_error(ErrorCode::kIo,
                "[distributed] rank 0 ({}) speaks version {} of the ranks' protocol, this rank "
                "version {}",
                socket.peer_name(), challenge.protocol, kProtocol);
  }

  Answer answer;
  socket.receive_all(std::as_writable_bytes(std::span(&answer, 1)), deadline);
  const bool is_proved =
      are_equal(answer.mac, mac_of(answer, challenge.nonce, request.nonce, secret));
  if (answer.verdict != Verdict::kWelcome) {
    throw_error(ErrorCode::kIo, "[distributed] rank 0 ({}) has turned this rank away{}: {}",
                socket.peer_name(), is_proved ? "" : " (its secret is another)",
                get(answer.reason));
  }
  const bool makes_sense = answer.size >= 2 && answer.size <= kMaxRanks && answer.rank >= 1 &&
                           answer.rank < answer.size && answer.silent_ms > 0;
  if (!is_proved || !makes_sense) {
    throw_error(ErrorCode::kIo, "[distributed] {} does not know the job's secret",
                socket.peer_name());
  }
  Job job{.rank = answer.rank,
          .size = answer.size,
          .silent_time = std::chrono::milliseconds(answer.silent_ms),
          .links = {}};
  job.links.push_back({.socket = std::move(socket),
                       .key = secret.derive("connection", challenge.nonce, request.nonce),
                       .rank = 0});
  return job;
}

}  // namespace lanner
