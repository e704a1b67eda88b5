// SPDX-License-Identifier: Apache-2.0
#include "weights/atomic_target.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include <fcntl.h>
#include <unistd.h>

#include "base/error.h"

namespace lanner {
namespace {

namespace fs = std::filesystem;

bool is_model(const fs::path& path, AtomicTarget::Kind kind) {
  std::error_code failure;
  if (kind == AtomicTarget::Kind::kFile) return fs::is_regular_file(path, failure);
  return fs::is_directory(path, failure) && fs::exists(path / "config.json", failure);
}

}  // namespace

AtomicTarget::AtomicTarget(std::string target, Kind kind, bool overwrite)
    : target_(std::move(target)) {
  while (target_.size() > 1 && target_.ends_with('/')) target_.pop_back();
  check_argument(!target_.empty(), "the target has no name");
  std::error_code failure;
  const fs::path path(target_);
  if (fs::exists(fs::symlink_status(path, failure))) {
    check_argument(overwrite, "{}: is there already; --force replaces it", target_);
    check_argument(is_model(path, kind) && !fs::is_symlink(path, failure),
                   "{}: is no {}, so it is not replaced", target_,
                   kind == Kind::kFile ? "file" : "model folder");
    replaces_ = true;
  }
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  partial_ =
      (folder / fmt::format(".{}.{}.partial", path.filename().string(), ::getpid())).string();
  if (kind == Kind::kFolder && !fs::create_directory(partial_, failure)) {
    throw_error(ErrorCode::kIo, "{}: cannot be made in {}: {}", target_, folder.string(),
                failure ? failure.message() : "a partial one is there");
  }
}

AtomicTarget::~AtomicTarget() {
  std::error_code failure;
  if (!partial_.empty()) fs::remove_all(partial_, failure);
}

void AtomicTarget::commit() {
  const auto rename = [&](unsigned flags) {
    return ::renameat2(AT_FDCWD, partial_.c_str(), AT_FDCWD, target_.c_str(), flags) == 0;
  };
  // Exchanged, the old one lies under the partial name and goes with the object.
  bool done = rename(replaces_ ? RENAME_EXCHANGE : RENAME_NOREPLACE);
  if (!done && errno == EINVAL) {  // file systems without either
    std::error_code failure;
    if (replaces_) fs::remove_all(target_, failure);
    done = std::rename(partial_.c_str(), target_.c_str()) == 0;
  }
  if (!done)
    throw_error(ErrorCode::kIo, "{}: cannot be written: {}", target_, std::strerror(errno));
  if (!replaces_) partial_.clear();
}

}  // namespace lanner
