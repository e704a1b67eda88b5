// SPDX-License-Identifier: Apache-2.0
#include "weights/hub_download.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <filesystem>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/error.h"

namespace lanner {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kPartBytes = int64_t{8} << 20;
constexpr auto kTick = std::chrono::milliseconds(100);

class File {
 public:
  explicit File(std::string path) : path_(std::move(path)) {
    fd_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd_ < 0) fail();
  }
  ~File() { ::close(fd_); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  [[noreturn]] void fail() const {
    throw FinalError(ErrorCode::kIo, fmt::format("{}: {}", path_, std::strerror(errno)));
  }
  int64_t size() const {
    struct stat status{};
    if (::fstat(fd_, &status) != 0) fail();
    return status.st_size;
  }
  void resize(int64_t bytes) const {
    if (::ftruncate(fd_, bytes) != 0) fail();
  }
  void write(int64_t at, std::string_view bytes) const {
    while (!bytes.empty()) {
      const ssize_t written = ::pwrite(fd_, bytes.data(), bytes.size(), at);
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) fail();
      at += written;
      bytes.remove_prefix(static_cast<size_t>(written));
    }
  }
  size_t read(int64_t at, char* buffer, size_t size) const {
    const ssize_t got = ::pread(fd_, buffer, size, at);
    if (got < 0) fail();
    return static_cast<size_t>(got);
  }
  // False: another process has it.
  bool lock() const { return ::flock(fd_, LOCK_EX | LOCK_NB) == 0; }

 private:
  std::string path_;
  int fd_ = -1;
};

// Which parts of a file have come: a line with the sizes, then a character for each part.
class Parts {
 public:
  Parts(const std::string& path, int64_t file_bytes)
      : file_(path),
        head_(fmt::format("{:>20} {:>10}\n", file_bytes, kPartBytes)),
        done_(static_cast<size_t>(ceil_div(file_bytes, kPartBytes)), '-') {
    std::string there(head_.size() + done_.size(), '\0');
    const bool whole = file_.size() == static_cast<int64_t>(there.size()) &&
                       file_.read(0, there.data(), there.size()) == there.size();
    if (whole && there.starts_with(head_)) {
      done_ = there.substr(head_.size());
    } else {
      file_.resize(0);
      file_.write(0, head_ + done_);
    }
  }

  size_t count() const { return done_.size(); }
  bool is_done(size_t part) const { return done_[part] == '+'; }
  void set_done(size_t part) {
    done_[part] = '+';
    file_.write(static_cast<int64_t>(head_.size() + part), "+");
  }
  void forget() {
    std::ranges::fill(done_, '-');
    file_.write(static_cast<int64_t>(head_.size()), done_);
  }

 private:
  File file_;
  std::string head_;
  std::string done_;
};

class Download {
 public:
  Download(const HubClient& client, const HubDownload& what, std::atomic<bool>& stop)
      : client_(client),
        what_(what),
        stop_(stop),
        partial_path_(what.target + ".lanner-partial"),
        parts_path_(what.target + ".lanner-parts"),
        file_(partial_path_) {}

  void run(const std::function<void(int64_t)>& on_progress) {
    while (!file_.lock()) {  // the same file, by another process
      on_progress(0);
      std::this_thread::sleep_for(kTick);
    }
    std::error_code failure;
    const auto there = fs::file_size(what_.target, failure);
    if (!failure && there == static_cast<uintmax_t>(what_.file.size)) return;  // it has brought it
    {
      Parts parts(parts_path_, what_.file.size);
      if (file_.size() != what_.file.size) {
        file_.resize(what_.file.size);
        parts.forget();
      }
      fetch(parts, on_progress);
    }
    on_progress(what_.file.size);
    check();
    fs::remove(parts_path_, failure);
    fs::rename(partial_path_, what_.target, failure);
    if (failure) throw_error(ErrorCode::kIo, "{}: {}", what_.target, failure.message());
  }

 private:
  int64_t size_of(size_t part) const {
    return std::min(kPartBytes, what_.file.size - static_cast<int64_t>(part) * kPartBytes);
  }

  void fetch(Parts& parts, const std::function<void(int64_t)>& on_progress) {
    std::vector<size_t> missing;
    for (size_t part = 0; part < parts.count(); ++part) {
      if (parts.is_done(part)) {
        received_ += size_of(part);
      } else {
        missing.push_back(part);
      }
    }
    if (missing.empty()) return;
    const bool in_parts =
        parts.count() > 1 && client_.has_ranges(what_.id, what_.commit, what_.file);
    if (!in_parts) {
      received_ = 0;
      parts.forget();
      missing = {0};
    }
    const size_t wanted = in_parts ? static_cast<size_t>(what_.connections) : 1;
    std::vector<std::thread> threads;
    running_ = static_cast<int>(std::min(wanted, missing.size()));
    for (int i = running_; i > 0; --i) {
      threads.emplace_back([&] { work(parts, missing, in_parts); });
    }
    std::exception_ptr told;  // by the caller, to end
    std::unique_lock lock(mutex_);
    while (running_ > 0) {
      changed_.wait_for(lock, kTick);
      if (told) continue;
      lock.unlock();
      try {
        on_progress(received_);
      } catch (...) {
        told = std::current_exception();
        stop_ = true;
      }
      lock.lock();
    }
    lock.unlock();
    for (std::thread& thread : threads) thread.join();
    if (told) std::rethrow_exception(told);
    if (failure_) std::rethrow_exception(failure_);
  }

  // A connection: one missing part after the other.
  void work(Parts& parts, const std::vector<size_t>& missing, bool in_parts) {
    try {
      for (;;) {
        size_t part = 0;
        {
          const std::lock_guard lock(mutex_);
          if (next_ == missing.size() || failure_) break;
          part = missing[next_++];
        }
        const int64_t begin = in_parts ? static_cast<int64_t>(part) * kPartBytes : 0;
        const int64_t end = in_parts ? begin + size_of(part) : what_.file.size;
        int64_t at = begin;
        client_.fetch(
            what_.id, what_.commit, what_.file, begin, end,
            [&](std::string_view bytes) {
              file_.write(at, bytes);
              at += static_cast<int64_t>(bytes.size());
              received_ += static_cast<int64_t>(bytes.size());
            },
            [&] {
              received_ -= at - begin;
              at = begin;
            });
        const std::lock_guard lock(mutex_);
        if (in_parts) {
          parts.set_done(part);
        } else {
          for (size_t i = 0; i < parts.count(); ++i) parts.set_done(i);
        }
      }
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!failure_) failure_ = std::current_exception();
    }
    const std::lock_guard lock(mutex_);
    --running_;
    changed_.notify_all();
  }

  // Holds the bytes against the hub's checksum; what is wrong is thrown away.
  void check() const {
    const HubFile& file = what_.file;
    const std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context(::EVP_MD_CTX_new(),
                                                                     ::EVP_MD_CTX_free);
    const EVP_MD* kind = file.is_lfs ? ::EVP_sha256() : ::EVP_sha1();
    LANNER_CHECK(context != nullptr && ::EVP_DigestInit_ex(context.get(), kind, nullptr) == 1);
    if (!file.is_lfs) {  // of a git blob, which begins with its kind and size
      const std::string head = fmt::format("blob {}", file.size);
      ::EVP_DigestUpdate(context.get(), head.c_str(), head.size() + 1);
    }
    std::vector<char> buffer(1 << 20);
    for (int64_t at = 0; at < file.size;) {
      if (stop_) throw Error(ErrorCode::kCancelled, "stopped");
      const size_t got = file_.read(at, buffer.data(), buffer.size());
      if (got == 0) break;
      ::EVP_DigestUpdate(context.get(), buffer.data(), got);
      at += static_cast<int64_t>(got);
    }
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned size = 0;
    ::EVP_DigestFinal_ex(context.get(), digest.data(), &size);
    std::string checksum;
    for (unsigned i = 0; i < size; ++i) checksum += fmt::format("{:02x}", digest[i]);
    if (checksum == file.checksum) return;
    std::error_code failure;
    fs::remove(parts_path_, failure);
    fs::remove(partial_path_, failure);
    throw_error(ErrorCode::kCorruptFile, "{}: its {} is {}, the hub says {}; it was thrown away",
                file.path, file.is_lfs ? "SHA-256" : "SHA-1", checksum, file.checksum);
  }

  const HubClient& client_;
  const HubDownload& what_;
  std::atomic<bool>& stop_;
  std::string partial_path_;
  std::string parts_path_;
  File file_;

  std::atomic<int64_t> received_{0};
  std::mutex mutex_;
  std::condition_variable changed_;
  int running_ = 0;             // connections; guarded by mutex_, as what follows
  size_t next_ = 0;             // of the missing parts
  std::exception_ptr failure_;  // the first one
};

}  // namespace

void download_hub_file(const HubClient& client, const HubDownload& download,
                       std::atomic<bool>& stop,
                       const std::function<void(int64_t bytes)>& on_progress) {
  Download(client, download, stop).run(on_progress);
}

}  // namespace lanner
