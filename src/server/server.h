// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "server/config.h"

namespace lanner::server {

// The server as a whole: listens, loads its models in the background, serves until it is told to
// stop. run() belongs to one thread; the others may be called from any.
class Server {
 public:
  // Listens at once; /health says "loading". Throws Error: kIo for the address, kInvalidArgument
  // and kNotFound for keys, limits, certificates and model names.
  Server(ServerConfig config, LoadFunction load);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  int port() const;
  // Returns after stop(), or when a drain is through. Throws what loading a model throws.
  void run();
  // No new requests; those under way get grace_seconds, then they are ended.
  void drain();
  // Ends everything now.
  void stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lanner::server
