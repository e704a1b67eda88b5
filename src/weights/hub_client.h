// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/http_client.h"
#include "lanner/error.h"

namespace lanner {

// A file of a model as the hub lists it.
struct HubFile {
  std::string path;
  int64_t size = 0;
  // SHA-256 of the content where the hub keeps it in LFS; else SHA-1 of the git blob. Names it in
  // the cache.
  std::string checksum;
  bool is_lfs = false;
};

struct HubListing {
  std::string commit;
  std::vector<HubFile> files;  // their paths are checked
};

// What it would be no use to try again.
class FinalError : public Error {
 public:
  using Error::Error;
};

// The hub's two answers that Lanner needs (the API of huggingface.co, which mirrors copy): a
// listing with checksums, and bytes of a file. Thread-safe. All methods throw Error as pull_model
// does; answers that say "later" and connections that break are tried again, some times and ever
// later.
class HubClient {
 public:
  // stop: as in NetOptions; must outlive the client.
  HubClient(Url hub, std::string token, const std::atomic<bool>& stop);

  HubListing list(const std::string& id, const std::string& revision) const;

  // Whether the hub gives parts of this file.
  bool has_ranges(const std::string& id, const std::string& commit, const HubFile& file) const;
  // Bytes [begin, end) of a file, in order. Of a file without ranges only all of it can be had: a
  // connection that breaks then begins anew, which `on_restart` is told.
  void fetch(const std::string& id, const std::string& commit, const HubFile& file, int64_t begin,
             int64_t end, const std::function<void(std::string_view)>& on_bytes,
             const std::function<void()>& on_restart) const;

 private:
  HttpHead get(Url url, const std::string& range, const std::string& what,
               const HttpHeadCallback& on_head, const HttpBodyCallback& on_body) const;
  std::string get_text(const Url& url, const std::string& what, std::string* next) const;
  Url file_url(const std::string& id, const std::string& commit, const HubFile& file) const;
  // Runs it, and again after failures of the network, later each time.
  void with_retries(const std::function<void()>& attempt) const;
  void pause(double seconds) const;

  Url hub_;
  std::string token_;
  const std::atomic<bool>& stop_;
};

}  // namespace lanner
