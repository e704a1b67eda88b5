// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace lanner::cli {

// Tells the service manager (systemd, Type=notify) how the service is: "READY=1", "STOPPING=1",
// "WATCHDOG=1". `socket` is $NOTIFY_SOCKET; "" does nothing. Failures are not reported: nobody is
// waiting.
void notify_service_manager(const std::string& socket, const std::string& state);

}  // namespace lanner::cli
