// SPDX-License-Identifier: Apache-2.0
#include "distributed/rendezvous.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <thread>

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "distributed/frames.h"

namespace lanner {
namespace {

using Clock = std::chrono::steady_clock;

// Signs of life per silent time: a lost wake-up or two is no death.
constexpr int kBeatsPerSilence = 10;
constexpr std::chrono::seconds kSendTime{5};
// A rank that has died is known as such by then, whatever else the machine is doing.
constexpr std::chrono::seconds kExplanationTime{5};
constexpr uint32_t kMaxBody = 4 << 20;
// A rank answers once before it waits for the others' answers.
constexpr size_t kMaxWaiting = 4;

// Of all keys together; oneCCL has a dozen per rank.
constexpr size_t kMaxPublished = 1 << 16;

// One connection and what has come over it. `send_mutex` guards `sent` and the writing; all else is
// the watching thread's.
struct Peer {
  explicit Peer(Link connection) : link(std::move(connection)), last_heard(Clock::now()) {}
  Link link;
  std::mutex send_mutex;
  uint64_t sent = 0;
  uint64_t received = 0;
  std::vector<std::byte> buffer;
  Clock::time_point last_heard;
  bool has_left = false;
};

}  // namespace

struct Rendezvous::Impl {
  Impl(Job job, std::function<void(const std::string&)> when_failed)
      : rank(job.rank),
        size(job.size),
        silent_time(job.silent_time),
        on_failure(std::move(when_failed)) {
    for (Link& link : job.links) peers.push_back(std::make_unique<Peer>(std::move(link)));
    inbox.resize(peers.size());
    stop_descriptor = eventfd(0, EFD_CLOEXEC);
    if (stop_descriptor < 0) {
      throw_error(ErrorCode::kResourceExhausted, "[distributed] no descriptor is left: {}",
                  std::strerror(errno));
    }
    watcher = std::thread([this] { watch(); });
  }

  ~Impl() {
    const uint64_t one = 1;
    // An eventfd takes eight bytes at once or fails for reasons that cannot occur.
    [[maybe_unused]] const ssize_t written = write(stop_descriptor, &one, sizeof(one));
    watcher.join();
    close(stop_descriptor);
    for (auto& peer : peers) try_send(*peer, FrameKind::kLeave, "");
  }

  Mac mac(const Peer& peer, const FrameHeader& header, std::span<const std::byte> body,
          bool is_from_rank_0) const {
    return peer.link.key.mac(is_from_rank_0 ? "from rank 0" : "to rank 0",
                             {std::as_bytes(std::span(&header, 1)), body});
  }

  void send_locked(Peer& peer, FrameKind kind, const std::string& body) {
    const FrameHeader header{kind, static_cast<uint32_t>(body.size()), ++peer.sent};
    const Mac code = mac(peer, header, std::as_bytes(std::span(body)), rank == 0);
    std::vector<std::byte> frame(sizeof(header) + body.size() + code.size());
    std::memcpy(frame.data(), &header, sizeof(header));
    std::memcpy(frame.data() + sizeof(header), body.data(), body.size());
    std::ranges::copy(code, frame.end() - static_cast<std::ptrdiff_t>(code.size()));
    peer.link.socket.send_all(frame, Clock::now() + kSendTime);
  }

  void send(Peer& peer, FrameKind kind, const std::string& body) {
    check_argument(body.size() <= kMaxBody,
                   "[distributed] a message of {} bytes; the longest may have {}", body.size(),
                   kMaxBody);
    const std::lock_guard lock(peer.send_mutex);
    send_locked(peer, kind, body);
  }

  void send_data(Peer& peer, const std::string& body) {
    try {
      send(peer, FrameKind::kData, body);
    } catch (const Error&) {
      wait_for_failure();
      throw;
    }
  }

  // Throws the failure that ends the job if it becomes known within a moment: it explains more than
  // the broken connection that a rank meets first.
  void wait_for_failure() {
    std::unique_lock lock(mutex);
    changed.wait_for(lock, kExplanationTime, [&] { return has_failed.load(); });
    if (has_failed) throw Error(ErrorCode::kIo, failure);
  }

  // Where the connection may be broken and that is found elsewhere.
  bool try_send(Peer& peer, FrameKind kind, const std::string& body) noexcept {
    try {
      send(peer, kind, body);
      return true;
    } catch (const std::exception&) {
      return false;
    }
  }

  std::string name_of(int other) const {
    const auto index = static_cast<size_t>(other);
    return knows_hosts ? fmt::format("rank {} (host {})", other, hosts[index].name)
                       : fmt::format("rank {}", other);
  }

  std::string process_of(int other) const {
    const auto index = static_cast<size_t>(other);
    if (!knows_hosts) return name_of(other);
    return fmt::format("rank {} (host {}, process {})", other, hosts[index].name, processes[index]);
  }

  // The first failure counts; rank 0 tells it to all.
  void set_failure(const std::string& sentence) {
    {
      const std::lock_guard lock(mutex);
      if (has_failed) return;
      failure = sentence;
      has_failed = true;
    }
    changed.notify_all();
    if (on_failure) on_failure(sentence);
    if (rank != 0) return;
    for (auto& peer : peers) try_send(*peer, FrameKind::kFailure, sentence);
  }

  void watch() {
    const auto beat_time = std::max(silent_time / kBeatsPerSilence, std::chrono::milliseconds(10));
    Clock::time_point next_beat = Clock::now();
    while (!has_failed) {
      if (Clock::now() >= next_beat) {
        beat();
        next_beat = Clock::now() + beat_time;
      }
      std::vector<pollfd> entries = {{stop_descriptor, POLLIN, 0}};
      for (const auto& peer : peers) {
        // poll leaves out what is negative.
        entries.push_back({peer->has_left ? -1 : peer->link.socket.descriptor(), POLLIN, 0});
      }
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(next_beat - Clock::now());
      poll(entries.data(), entries.size(),
           static_cast<int>(std::clamp<int64_t>(left.count(), 0, beat_time.count())));
      if (entries[0].revents != 0) return;
      // This process itself may have been stopped: what came meanwhile is heard first.
      for (size_t p = 0; p < peers.size() && !has_failed; ++p) {
        try {
          if (entries[p + 1].revents != 0) hear(p);
        } catch (const Error& error) {
          set_failure(error.what());
        }
      }
      expect_life();
    }
  }

  void beat() {
    for (auto& peer : peers) {
      // Somebody who is sending to it at this moment is sign enough.
      const std::unique_lock lock(peer->send_mutex, std::try_to_lock);
      if (!lock.owns_lock() || peer->has_left) continue;
      try {
        send_locked(*peer, FrameKind::kBeat, "");
      } catch (const Error&) {
        continue;  // hear() finds out what has become of it
      }
    }
  }

  void expect_life() {
    for (auto& peer : peers) {
      if (peer->has_left || Clock::now() - peer->last_heard <= silent_time) continue;
      set_failure(fmt::format(
          "[distributed] {} has been silent for {:.1f} s: it or its network "
          "stands still",
          process_of(peer->link.rank), std::chrono::duration<double>(silent_time).count()));
    }
  }

  void hear(size_t p) {
    Peer& peer = *peers[p];
    std::array<std::byte, 16384> chunk;
    const auto count = peer.link.socket.receive_some(chunk);
    if (!count) {
      set_failure(fmt::format("[distributed] {} has died: its connection is closed",
                              process_of(peer.link.rank)));
      return;
    }
    peer.last_heard = Clock::now();
    peer.buffer.insert(peer.buffer.end(), chunk.begin(),
                       chunk.begin() + static_cast<std::ptrdiff_t>(*count));
    while (!peer.has_left && take_frame(p)) {
    }
  }

  bool take_frame(size_t p) {
    Peer& peer = *peers[p];
    FrameHeader header;
    if (peer.buffer.size() < sizeof(header)) return false;
    std::memcpy(&header, peer.buffer.data(), sizeof(header));
    const size_t length = sizeof(header) + size_t{header.bytes} + sizeof(Mac);
    const bool makes_sense = header.bytes <= kMaxBody && header.number == peer.received + 1;
    if (makes_sense && peer.buffer.size() < length) return false;
    bool is_whole = false;
    std::string body;
    if (makes_sense) {
      const std::span<const std::byte> text =
          std::span(peer.buffer).subspan(sizeof(header), header.bytes);
      Mac code;
      std::memcpy(code.data(), text.data() + text.size(), code.size());
      is_whole = are_equal(code, mac(peer, header, text, rank != 0));
      body.assign(reinterpret_cast<const char*>(text.data()), text.size());
    }
    if (!is_whole) {
      throw_error(ErrorCode::kIo, "[distributed] a message of {} was damaged on its way",
                  name_of(peer.link.rank));
    }
    ++peer.received;
    peer.buffer.erase(peer.buffer.begin(),
                      peer.buffer.begin() + static_cast<std::ptrdiff_t>(length));
    take(p, header.kind, std::move(body));
    return true;
  }

  void take(size_t p, FrameKind kind, std::string body) {
    Peer& peer = *peers[p];
    switch (kind) {
      case FrameKind::kBeat:
        return;
      case FrameKind::kData: {
        const std::lock_guard lock(mutex);
        if (inbox[p].size() == kMaxWaiting) {
          throw_error(ErrorCode::kIo, "[distributed] {} sends more than it was asked for",
                      name_of(peer.link.rank));
        }
        inbox[p].push_back(std::move(body));
        break;
      }
      case FrameKind::kFailure:
        // Of rank 0 it is the whole sentence.
        set_failure(rank == 0 ? fmt::format("[distributed] {} has failed: {}",
                                            name_of(peer.link.rank), body)
                              : body);
        return;
      case FrameKind::kLeave:
        peer.has_left = true;
        has_left = true;
        tell_others_of_leaving();
        break;
      case FrameKind::kOtherLeft:
        has_left = true;
        break;
      case FrameKind::kWake: {
        const std::lock_guard lock(mutex);
        ++wakes;
        break;
      }
      case FrameKind::kPublish:
        keep_published(body);
        // To those that have not said it.
        for (auto& other : peers) {
          if (rank == 0 && other.get() != &peer && !other->has_left) {
            try_send(*other, FrameKind::kPublish, body);
          }
        }
        break;
      default:
        throw_error(ErrorCode::kIo, "[distributed] {} has sent a message of unknown kind",
                    name_of(peer.link.rank));
    }
    changed.notify_all();
  }

  void tell_others_of_leaving() {
    // A rank may leave as soon as it has the answer that the others are still to get.
    const std::lock_guard lock(answer_mutex);
    for (auto& other : peers) {
      if (!other->has_left) try_send(*other, FrameKind::kOtherLeft, "");
    }
  }

  // `text`: the length of the key, the key, the value.
  void keep_published(const std::string& text) {
    FrameReader reader(text);
    const std::string key(reader.take(reader.number()));
    const std::lock_guard lock(mutex);
    if (published.size() == kMaxPublished && published.find(key) == published.end()) {
      throw_error(ErrorCode::kIo, "[distributed] the ranks publish more than {} keys",
                  kMaxPublished);
    }
    published[key] = reader.rest();
  }

  void throw_failure() const {
    const std::lock_guard lock(mutex);
    throw Error(ErrorCode::kIo, failure);
  }

  // Waits for a message of every peer.
  std::vector<std::string> collect(Clock::time_point deadline) {
    std::unique_lock lock(mutex);
    const auto missing = [&] {
      return std::ranges::find_if(inbox, [](const auto& queue) { return queue.empty(); });
    };
    const bool is_complete = changed.wait_until(
        lock, deadline, [&] { return has_failed || has_left || missing() == inbox.end(); });
    if (has_failed) throw Error(ErrorCode::kIo, failure);
    if (missing() != inbox.end()) {
      const auto index = static_cast<size_t>(missing() - inbox.begin());
      throw_error(ErrorCode::kIo, "[distributed] {} {}", name_of(peers[index]->link.rank),
                  is_complete ? "has left" : "does not come to where the others wait");
    }
    std::vector<std::string> messages;
    for (auto& queue : inbox) {
      messages.push_back(std::move(queue.front()));
      queue.pop_front();
    }
    return messages;
  }

  const int rank;
  const int size;
  const std::chrono::milliseconds silent_time;
  std::vector<std::unique_ptr<Peer>> peers;
  const std::function<void(const std::string&)> on_failure;
  std::vector<HostName> hosts;         // written once, before knows_hosts
  std::vector<std::string> processes;  // likewise
  std::atomic<bool> knows_hosts = false;
  std::string interface;
  int stop_descriptor = -1;

  std::mutex answer_mutex;   // held while rank 0 answers an exchange
  mutable std::mutex mutex;  // of what follows
  std::condition_variable changed;
  std::vector<std::deque<std::string>> inbox;  // by peer
  std::map<std::string, std::string> published;
  std::string failure;
  uint64_t wakes = 0;        // that have come
  uint64_t wakes_taken = 0;  // by wait_for_wake
  std::atomic<bool> has_failed = false;
  std::atomic<bool> has_left = false;
  std::thread watcher;
};

Rendezvous::Rendezvous(const RendezvousOptions& options)
    : impl_(std::make_unique<Impl>(
          options.rank == 0 ? wait_for_ranks(options) : join_ranks(options), options.on_failure)) {
  const HostName self = this_host();
  const std::string process = std::to_string(getpid());
  std::vector<HostName> hosts;
  for (const std::string& other :
       exchange(fmt::format("{}\n{}\n{}", self.name, self.boot, process), options.timeout)) {
    std::vector<std::string> lines(1);
    for (const char c : other) {
      if (c == '\n') {
        lines.emplace_back();
      } else {
        lines.back() += c;
      }
    }
    lines.resize(3);
    hosts.push_back({.name = lines[0], .boot = lines[1]});
    impl_->processes.push_back(lines[2]);
  }
  // A rank on rank 0's host may have come over the loopback interface, which leads to no other.
  const Peer* way_out = impl_->peers.empty() ? nullptr : impl_->peers.front().get();
  for (const auto& peer : impl_->peers) {
    if (hosts[static_cast<size_t>(peer->link.rank)] != self) {
      way_out = peer.get();
      break;
    }
  }
  const std::vector<std::string> interfaces =
      exchange(way_out == nullptr ? "" : way_out->link.socket.interface(), options.timeout);
  const bool is_with_rank_0 = hosts[0] == self;
  impl_->interface = interfaces[is_with_rank_0 ? 0 : static_cast<size_t>(rank())];
  impl_->hosts = std::move(hosts);
  impl_->knows_hosts = true;
}

Rendezvous::~Rendezvous() = default;

int Rendezvous::rank() const { return impl_->rank; }
int Rendezvous::size() const { return impl_->size; }
const std::vector<HostName>& Rendezvous::hosts() const { return impl_->hosts; }
const std::string& Rendezvous::interface() const { return impl_->interface; }

bool Rendezvous::is_one_host() const {
  return std::ranges::all_of(hosts(), [&](const HostName& h) { return h == hosts().front(); });
}

int Rendezvous::ranks_on_host(int rank) const {
  return static_cast<int>(std::ranges::count(hosts(), hosts()[static_cast<size_t>(rank)]));
}

std::vector<std::string> Rendezvous::exchange(const std::string& mine,
                                              std::chrono::milliseconds timeout) {
  const Clock::time_point deadline = Clock::now() + timeout;
  throw_if_failed();
  std::vector<std::string> all;
  if (rank() == 0) {
    all.push_back(mine);
    for (std::string& message : impl_->collect(deadline)) all.push_back(std::move(message));
    std::string packed;
    for (const std::string& message : all) {
      append_value(packed, static_cast<uint32_t>(message.size()));
      packed += message;
    }
    const std::lock_guard lock(impl_->answer_mutex);
    for (auto& peer : impl_->peers) impl_->send_data(*peer, packed);
    return all;
  }
  impl_->send_data(*impl_->peers.front(), mine);
  const std::string packed = std::move(impl_->collect(deadline).front());
  FrameReader reader(packed);
  for (int r = 0; r < size(); ++r) all.emplace_back(reader.take(reader.number()));
  return all;
}

void Rendezvous::agree(const std::string& name, const std::string& value) {
  const std::vector<std::string> values = exchange(value);
  for (int r = 1; r < size(); ++r) {
    const std::string& other = values[static_cast<size_t>(r)];
    if (other == values[0]) continue;
    throw_error(ErrorCode::kIo, "[distributed] the {} is {} on {}, {} on {}", name, values[0],
                impl_->name_of(0), other, impl_->name_of(r));
  }
}

void Rendezvous::publish(const std::string& key, const std::string& value) noexcept {
  try {
    std::string text;
    append_value(text, static_cast<uint32_t>(key.size()));
    text += key + value;
    impl_->keep_published(text);
    impl_->changed.notify_all();
    for (auto& peer : impl_->peers) impl_->try_send(*peer, FrameKind::kPublish, text);
  } catch (const std::exception& error) {
    log_warn("[distributed] cannot publish '{}': {}", key, error.what());
  }
}

std::optional<std::string> Rendezvous::look_up(const std::string& key,
                                               std::chrono::milliseconds timeout) {
  std::unique_lock lock(impl_->mutex);
  const auto find = [&] { return impl_->published.find(key); };
  impl_->changed.wait_for(lock, timeout,
                          [&] { return impl_->has_failed || find() != impl_->published.end(); });
  if (impl_->has_failed) throw Error(ErrorCode::kIo, impl_->failure);
  if (find() == impl_->published.end()) return std::nullopt;
  return find()->second;
}

bool Rendezvous::has_failed() const { return impl_->has_failed; }
bool Rendezvous::has_left() const { return impl_->has_left; }

void Rendezvous::throw_if_failed() const {
  if (impl_->has_failed) impl_->throw_failure();
}

void Rendezvous::wait_for_failure() { impl_->wait_for_failure(); }

void Rendezvous::fail(const std::string& reason) noexcept {
  if (impl_->has_failed) return;
  try {
    if (rank() != 0) impl_->try_send(*impl_->peers.front(), FrameKind::kFailure, reason);
    impl_->set_failure(
        fmt::format("[distributed] {} has failed: {}", impl_->name_of(rank()), reason));
  } catch (const std::exception& error) {
    log_warn("[distributed] cannot tell the other ranks of a failure: {}", error.what());
  }
}

void Rendezvous::wake() noexcept {
  for (auto& peer : impl_->peers) impl_->try_send(*peer, FrameKind::kWake, "");
}

void Rendezvous::wait_for_wake(std::chrono::milliseconds timeout) {
  std::unique_lock lock(impl_->mutex);
  impl_->changed.wait_for(lock, timeout, [&] {
    return impl_->has_failed || impl_->has_left || impl_->wakes != impl_->wakes_taken;
  });
  impl_->wakes_taken = impl_->wakes;
}

}  // namespace lanner
