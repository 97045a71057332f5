#include "core/problem_text.h"
#include "tests/shim/gpu/checks.h"
#include "tests/shim/gpu/device.h"
#include "tests/shim/gpu/legacy_calls.h"
#include "tests/shim/gpu/reference.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <vector>

namespace gpu_check {
namespace {

namespace core = reformer::core;

// One problem's data on the GPU, and everything that is done with it.
template <typename Operation>
class Legacy {
 public:
  using Result = typename Operation::Result;
  using Results = std::vector<Result>;

  Legacy(const core::Problem& problem, const Handle& handle, Report& report)
      : problem_(problem),
        name_(core::format_problem(problem)),
        report_(report),
        described_(problem),
        tensors_(make_tensors(problem, Filling::kWhole)),
        buffers_{std::make_unique<Buffer>(bytes_of(problem.x)),
                 std::make_unique<Buffer>(bytes_of(problem.w)),
                 std::make_unique<Buffer>(bytes_of(problem.y))},
        call_{problem, described_, handle, nullptr, nullptr, nullptr} {
    const std::vector<std::byte>* contents[] = {&tensors_.x, &tensors_.w, &tensors_.y};
    for (std::size_t i = 0; i < 3; ++i) {
      if (contents[i]->empty()) {
        output_ = buffers_[i].get();
      } else {
        buffers_[i] = std::make_unique<Buffer>(*contents[i]);
      }
    }
    call_.x = buffers_[0]->get();
    call_.w = buffers_[1]->get();
    call_.y = buffers_[2]->get();
  }

  void check_all(const Options& options) {
    choose("get", false, [&](int* n, Result* r) { return Operation::get(call_, n, r); });
    const Results found =
        choose("find", true, [&](int* n, Result* r) { return Operation::find(call_, n, r); });
    const Results again =
        choose("find", true, [&](int* n, Result* r) { return Operation::find(call_, n, r); });
    const Buffer space(std::size_t{64} << 20);
    const auto search = [&](int* n, Result* r) { return Operation::find_ex(call_, space, n, r); };
    const Results found_ex = choose("find ex", true, search);
    const Results again_ex = choose("find ex", true, search);
    if (options.under_shim) {
      report_.expect(same(found, again) && same(found_ex, again_ex),
                     "the same search is not run twice: " + name_);
    }
    if constexpr (std::is_same_v<Operation, Forward>) {
      run_with_bias_and_relu(found);
    }
  }

 private:
  static bool same(const Results& a, const Results& b) {
    return !a.empty() && a.size() == b.size() &&
           std::memcmp(a.data(), b.data(), a.size() * sizeof(Result)) == 0;
  }

  // What a caller of each kind may rely on; then the first three that succeeded are run.
  template <typename Choose>
  Results choose(const std::string& how, bool timed, Choose choosing) {
    Results results(kMost);
    int returned = -1;
    const cudnnStatus_t status = choosing(&returned, results.data());
    call_.handle.synchronise();
    const bool ok = status == CUDNN_STATUS_SUCCESS && returned > 0 && returned <= kMost;
    results.resize(ok ? static_cast<std::size_t>(returned) : 0);
    std::string order;
    bool as_promised = ok;
    float last = 0;
    int run = 0;
    for (const Result& result : results) {
      if (result.status != CUDNN_STATUS_SUCCESS) {
        continue;
      }
      order += (order.empty() ? "" : " ") + std::to_string(result.algo);
      as_promised = as_promised && (timed ? result.time >= last : result.time < 0);
      last = result.time;
      if (run++ < 3) {
        run_result(how, result);
      }
    }
    report_.expect(as_promised && run > 0, how + " keeps promises: " + name_, "order " + order);
    return results;
  }

  void run_result(const std::string& how, const Result& result) {
    const Buffer space(result.memory);
    example::check(cudnnSetConvolutionMathType(described_.convolution, result.mathType),
                   "cudnnSetConvolutionMathType");
    output_->clear();
    const cudnnStatus_t status = Operation::run(call_, result, space);
    call_.handle.synchronise();
    example::check(cudnnSetConvolutionMathType(described_.convolution, CUDNN_TENSOR_OP_MATH),
                   "cudnnSetConvolutionMathType");
    const std::string label = how + " algorithm " + std::to_string(result.algo) + " math " +
                              std::to_string(result.mathType) + ": " + name_;
    if (status != CUDNN_STATUS_SUCCESS) {
      report_.expect(false, label, cudnnGetErrorString(status));
      return;
    }
    compare(label, tensors_.expected);
  }

  void compare(const std::string& label, std::span<const double> expected) {
    const std::vector<std::byte> bytes = output_->content();
    const core::DataType type = computed_tensor(problem_).type;
    report_.output(label, hash_of(bytes), deviation(type, bytes, expected), tolerance(type));
  }

  // Not every algorithm has it: the first that does.
  void run_with_bias_and_relu(const Results& results) {
    std::vector<double> bias(static_cast<std::size_t>(problem_.y.dims[1]));
    for (std::size_t i = 0; i < bias.size(); ++i) {
      bias[i] = static_cast<double>(i % 7) - 3;
    }
    const Buffer bias_data(encode(problem_.y.type, bias));
    for (const Result& result : results) {
      if (result.status != CUDNN_STATUS_SUCCESS) {
        continue;
      }
      const Buffer space(result.memory);
      output_->clear();
      const cudnnStatus_t status =
          cudnnConvolutionBiasActivationForward(call_.handle.get(),
                                                &kOne,
                                                described_.x,
                                                call_.x,
                                                described_.w,
                                                call_.w,
                                                described_.convolution,
                                                static_cast<cudnnConvolutionFwdAlgo_t>(result.algo),
                                                space.get(),
                                                space.bytes(),
                                                &kZero,
                                                described_.y,
                                                call_.y,
                                                described_.bias,
                                                bias_data.get(),
                                                described_.relu,
                                                described_.y,
                                                call_.y);
      call_.handle.synchronise();
      if (status == CUDNN_STATUS_SUCCESS) {
        compare("bias and relu, algorithm " + std::to_string(result.algo) + ": " + name_,
                with_bias_and_relu(problem_, tensors_.expected, bias));
        return;
      }
    }
    report_.note("bias and relu: " + name_, "no algorithm that was found has it");
  }

  const core::Problem& problem_;
  const std::string name_;
  Report& report_;
  const Described described_;
  const Tensors tensors_;
  std::array<std::unique_ptr<Buffer>, 3> buffers_;
  Buffer* output_ = nullptr;
  Call call_;
};

}  // namespace

void check_legacy(std::span<const core::Problem> problems, const Options& options, Report& report) {
  const Handle handle;
  for (std::size_t i = 0; i < problems.size(); i += options.quick ? 4 : 1) {
    const core::Problem& problem = problems[i];
    switch (problem.operation) {
      case core::Operation::kForward:
        Legacy<Forward>(problem, handle, report).check_all(options);
        break;
      case core::Operation::kDataGradient:
        Legacy<BackwardData>(problem, handle, report).check_all(options);
        break;
      case core::Operation::kFilterGradient:
        Legacy<BackwardFilter>(problem, handle, report).check_all(options);
        break;
    }
  }
}

}  // namespace gpu_check
