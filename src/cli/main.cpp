// SPDX-License-Identifier: Apache-2.0
#include "cli/app.h"

int main(int argc, char** argv) {
  using namespace lanner;
  return cli::run_program(argc, argv,
                          {.load = LLM::load,
                           .load_text = ModelText::load,
                           .machine_report = machine_report,
                           .model_report = model_report,
                           .families_report = families_report,
                           .benchmark_machine = benchmark_machine,
                           .benchmark_model = benchmark_model,
                           .benchmark_attention = benchmark_attention,
                           .benchmark_communication = benchmark_communication,
                           .plan_distributed = plan_distributed,
                           .backend_problem = backend_problem,
                           .make_job_secret = make_job_secret,
                           .finish_reason_name = finish_reason_name,
                           .version = version(),
                           .run_worker = run_worker},
                          {.quantize = quantize_model, .pull = pull_model});
}
