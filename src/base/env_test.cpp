// SPDX-License-Identifier: Apache-2.0
#include "base/env.h"

#include <cstdlib>
#include <map>

#include <gmock/gmock.h>

#include "base/error.h"
#include "base/log.h"

namespace lanner {
namespace {

using ::testing::HasSubstr;

// Sets exactly these of Lanner's variables, and puts the old ones back.
class Variables {
 public:
  explicit Variables(const std::map<std::string, std::string>& values) {
    for (const char* name : kNames) {
      const char* old = std::getenv(name);
      old_.emplace_back(old == nullptr ? std::nullopt : std::optional<std::string>(old));
      const auto value = values.find(name);
      set(name, value == values.end() ? std::nullopt : std::optional(value->second));
    }
  }
  ~Variables() {
    for (size_t i = 0; i < old_.size(); ++i) set(kNames[i], old_[i]);
  }
  Variables(const Variables&) = delete;
  Variables& operator=(const Variables&) = delete;

 private:
  static constexpr const char* kNames[] = {"LANNER_LOG_LEVEL",
                                           "LANNER_MAX_ISA",
                                           "LANNER_THREADS",
                                           "LANNER_CACHE",
                                           "XDG_CACHE_HOME",
                                           "HOME",
                                           "OMPI_COMM_WORLD_RANK",
                                           "OMPI_COMM_WORLD_SIZE",
                                           "PMI_RANK",
                                           "PMI_SIZE",
                                           "SLURM_PROCID",
                                           "SLURM_NTASKS",
                                           "LANNER_SECRET",
                                           "LANNER_HUB_URL",
                                           "HF_ENDPOINT",
                                           "LANNER_HUB_TOKEN",
                                           "HF_TOKEN",
                                           "LANNER_HUB_CACHE",
                                           "HF_HUB_CACHE",
                                           "HF_HOME",
                                           "HF_HUB_OFFLINE"};
  static void set(const char* name, const std::optional<std::string>& value) {
    if (value) {
      setenv(name, value->c_str(), 1);
    } else {
      unsetenv(name);
    }
  }
  std::vector<std::optional<std::string>> old_;
};

std::string error_of(const std::map<std::string, std::string>& values) {
  const Variables variables(values);
  try {
    read_environment();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kInvalidArgument);
    return e.what();
  }
  return "no error";
}

TEST(Environment, IsEmptyWhereNothingIsSet) {
  const Variables variables({});
  const Environment environment = read_environment();
  EXPECT_EQ(environment.log_level, std::nullopt);
  EXPECT_EQ(environment.max_isa, std::nullopt);
  EXPECT_EQ(environment.threads, std::nullopt);
  EXPECT_EQ(environment.cache_dir, "/var/tmp/lanner-cache");
}

TEST(Environment, ReadsEveryVariable) {
  const Variables variables({{"LANNER_LOG_LEVEL", "debug"},
                             {"LANNER_MAX_ISA", "avx2"},
                             {"LANNER_THREADS", "3"},
                             {"LANNER_SECRET", "of the job"},
                             {"LANNER_CACHE", "/a"}});
  const Environment environment = read_environment();
  EXPECT_EQ(environment.log_level, "debug");
  EXPECT_EQ(environment.max_isa, "avx2");
  EXPECT_EQ(environment.threads, 3);
  EXPECT_EQ(environment.job_secret, "of the job");
  EXPECT_EQ(environment.cache_dir, "/a");
}

TEST(Environment, TakesAnEmptyValueAsUnset) {
  const Variables variables({{"LANNER_THREADS", ""}, {"LANNER_MAX_ISA", ""}});
  EXPECT_EQ(read_environment().threads, std::nullopt);
  EXPECT_EQ(read_environment().max_isa, std::nullopt);
}

TEST(Environment, RefusesValuesThatMakeNoSense) {
  for (const char* value : {"0", "-1", "two", "2x", " 2", "99999999999", "1.5"}) {
    EXPECT_THAT(error_of({{"LANNER_THREADS", value}}), HasSubstr("LANNER_THREADS=")) << value;
  }
  EXPECT_THAT(error_of({{"LANNER_LOG_LEVEL", "loud"}}), HasSubstr("log level 'loud' is unknown"));
}

TEST(Environment, FindsTheCacheFolder) {
  const auto cache = [](const std::map<std::string, std::string>& values) {
    const Variables variables(values);
    return read_environment().cache_dir;
  };
  EXPECT_EQ(cache({{"HOME", "/h"}}), "/h/.cache/lanner");
  EXPECT_EQ(cache({{"HOME", "/h"}, {"XDG_CACHE_HOME", "/x"}}), "/x/lanner");
  EXPECT_EQ(cache({{"HOME", "/h"}, {"XDG_CACHE_HOME", "x"}}), "/h/.cache/lanner");
  EXPECT_EQ(cache({{"LANNER_CACHE", "/c"}, {"XDG_CACHE_HOME", "/x"}}), "/c");
}

TEST(Environment, KnowsTheHubByItsNamesAndByHuggingFaces) {
  const auto read = [](const std::map<std::string, std::string>& values) {
    const Variables variables(values);
    return read_environment();
  };
  EXPECT_EQ(read({}).hub_url, "https://huggingface.co");
  EXPECT_EQ(read({}).hub_token, "");
  EXPECT_FALSE(read({}).hub_offline);
  EXPECT_EQ(read({{"HF_ENDPOINT", "http://a"}}).hub_url, "http://a");
  EXPECT_EQ(read({{"HF_ENDPOINT", "http://a"}, {"LANNER_HUB_URL", "http://b"}}).hub_url,
            "http://b");
  EXPECT_EQ(read({{"HF_TOKEN", "t"}}).hub_token, "t");
  EXPECT_TRUE(read({{"HF_HUB_OFFLINE", "1"}}).hub_offline);
  EXPECT_EQ(read({{"HOME", "/h"}}).hub_cache, "/h/.cache/huggingface/hub");
  EXPECT_EQ(read({{"HOME", "/h"}, {"XDG_CACHE_HOME", "/x"}}).hub_cache, "/x/huggingface/hub");
  EXPECT_EQ(read({{"HF_HOME", "/f"}, {"XDG_CACHE_HOME", "/x"}}).hub_cache, "/f/hub");
  EXPECT_EQ(read({{"HF_HUB_CACHE", "/c"}, {"HF_HOME", "/f"}}).hub_cache, "/c");
  EXPECT_EQ(read({{"LANNER_HUB_CACHE", "/l"}, {"HF_HUB_CACHE", "/c"}}).hub_cache, "/l");
}

TEST(Environment, KnowsThePlaceALauncherGave) {
  const auto place = [](const std::map<std::string, std::string>& values) -> std::string {
    const Variables variables(values);
    try {
      const auto found = read_launcher_rank();
      if (!found) return "none";
      return found->launcher + " " + std::to_string(found->rank) + "/" +
             std::to_string(found->size);
    } catch (const Error& e) {
      return e.what();
    }
  };
  EXPECT_EQ(place({}), "none");
  EXPECT_EQ(place({{"OMPI_COMM_WORLD_RANK", "1"}, {"OMPI_COMM_WORLD_SIZE", "2"}}), "Open MPI 1/2");
  EXPECT_EQ(place({{"PMI_RANK", "0"}, {"PMI_SIZE", "4"}}), "PMI 0/4");
  EXPECT_EQ(place({{"SLURM_PROCID", "3"}, {"SLURM_NTASKS", "4"}}), "SLURM 3/4");
  // mpirun inside of a SLURM job.
  EXPECT_EQ(
      place({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}, {"PMI_RANK", "2"}, {"PMI_SIZE", "4"}}),
      "PMI 2/4");
  EXPECT_EQ(place({{"PMI_RANK", "2"}}), "none");
  EXPECT_EQ(place({{"PMI_RANK", "4"}, {"PMI_SIZE", "4"}}), "PMI_RANK=4, but PMI_SIZE=4");
  EXPECT_THAT(place({{"PMI_RANK", "x"}, {"PMI_SIZE", "4"}}), HasSubstr("PMI_RANK=x: expected"));
}

TEST(Environment, KeepsWhatTheUserHasSet) {
  const Variables variables(std::map<std::string, std::string>{{"PMI_RANK", "user"}});
  set_default_environment("PMI_RANK", "library");
  set_default_environment("PMI_SIZE", "library");
  EXPECT_STREQ(std::getenv("PMI_RANK"), "user");
  EXPECT_STREQ(std::getenv("PMI_SIZE"), "library");
}

TEST(Log, DoesNotThrowUnderABadEnvironment) {
  const Variables variables({{"LANNER_LOG_LEVEL", "loud"}, {"LANNER_THREADS", "two"}});
  EXPECT_NO_THROW(log_info("{} {}", "not", "shown"));
}

TEST(Log, KnowsEveryLevel) {
  EXPECT_EQ(parse_log_level("trace"), LogLevel::kTrace);
  EXPECT_EQ(parse_log_level("off"), LogLevel::kOff);
  EXPECT_THROW(parse_log_level("OFF"), Error);
}

TEST(Log, WritesToStderrWhatTheLevelLetsThrough) {
  set_log_level(LogLevel::kWarn);
  ::testing::internal::CaptureStderr();
  log_info("quiet");
  log_warn("{} is {{loud}}", 1);
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), HasSubstr("1 is {loud}"));
}

}  // namespace
}  // namespace lanner
