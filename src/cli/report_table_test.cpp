// SPDX-License-Identifier: Apache-2.0
#include "cli/report_table.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace lanner::cli {
namespace {

TEST(ReportTable, LaysOutSectionsRowsAndUnits) {
  EXPECT_EQ(report_table(R"({
    "version": "0.1.0",
    "machine": {"isa": ["avx2", "avx512"], "why": null, "smt": true,
                "cache": {"l2_bytes": 1310720}},
    "kernels": [{"op": "gemm", "kernel": "avx512"}, {"op": "rms_norm", "dtype": "fp32"}],
    "empty": []
  })"),
            "version  0.1.0\n"
            "\n"
            "machine\n"
            "  isa  avx2, avx512\n"
            "  why  -\n"
            "  smt  yes\n"
            "  cache\n"
            "    l2  1.2 MiB\n"
            "\n"
            "kernels\n"
            "  op        kernel  dtype\n"
            "  gemm      avx512  \n"
            "  rms_norm          fp32\n"
            "\n"
            "empty    none\n");
}

TEST(ReportTable, RefusesWhatIsNoJson) { EXPECT_THROW(report_table("{"), Error); }

}  // namespace
}  // namespace lanner::cli
