// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "weights/hub_client.h"

namespace lanner {

// One file to bring to `target`.
struct HubDownload {
  std::string id;
  std::string commit;
  HubFile file;
  std::string target;
  int connections = 1;
};

// Downloads the file, large ones in parts over several connections, checks it and puts it in its
// place. What has come lies beside the target (.lanner-partial; .lanner-parts says which parts)
// until then, and is gone on with by the next call. on_progress is called on this thread with the
// bytes that there are of the file; what it throws is thrown here, after `stop` has ended the
// connections. Throws Error as pull_model does.
void download_hub_file(const HubClient& client, const HubDownload& download,
                       std::atomic<bool>& stop,
                       const std::function<void(int64_t bytes)>& on_progress);

}  // namespace lanner
