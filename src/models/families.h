// SPDX-License-Identifier: Apache-2.0
// The families: each is one function, in models/<name>.cpp, that makes a DecoderSpec of the keys of
// config.json. It reads every key that has an effect and refuses values it cannot honour; the
// registry refuses the keys that nobody read.
#pragma once

#include "models/decoder_spec.h"

namespace lanner {

DecoderSpec llama(const ConfigReader& config);

}  // namespace lanner
