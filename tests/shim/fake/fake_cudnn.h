#pragma once

#include <cudnn.h>

#include <array>
#include <atomic>
#include <cstdint>

// A libcudnn.so.9 for tests, without a GPU and without doing anything: it counts calls, fails those
// that it is told to fail, and says strange things. It allocates nothing.
//
// Its own list for a heuristics query is kOwnList engines from kOwnEngine on. It refuses engines
// from State::refused on, and a configuration that was given knobs takes no fewer of them
// afterwards, as cuDNN's. A plan is made of a configuration or of a serialised plan: one that was
// given both, or a serialised plan that is refused, is of no use any more.
namespace fake_cudnn {

inline constexpr std::int64_t kOwnList = 12;
inline constexpr std::int64_t kOwnEngine = 100;
inline constexpr int kAlgorithms = 8;

enum Function {
  kCreate,
  kDestroy,
  kSet,
  kGet,
  kFinalize,
  kExecute,
  kPopulate,
  kGetAlgorithm,
  kFind,
  kCreateHandle,
  kDestroyHandle,
  kRead,  // readers of the older API's descriptors
  kFunctions,
};

struct State {
  std::array<std::atomic<std::uint64_t>, kFunctions> calls{};
  std::atomic<int> failing{-1};                         // this function fails...
  std::atomic<std::int64_t> countdown{0};               // ...after so many calls that succeed...
  std::atomic<std::int64_t> failures{0};                // ...so many times.
  std::atomic<std::int64_t> live{0};                    // descriptors
  std::atomic<std::int64_t> refused{1000};              // engines from this one on
  std::atomic<std::int64_t> refused_configuration{-1};  // this engine's, when it has its knobs
  std::atomic<int> slow_configuration_us{0};            // so long its finalising takes
  std::atomic<std::int64_t> loaded{0};                  // plans finalised from a serialised one
  std::atomic<bool> refuses_json{false};
  std::array<char, 4096> json{};  // the last one that was set
  // What is said where a number of results is asked for, in place of the truth.
  std::atomic<bool> lies{false};
  std::atomic<bool> lies_reading{false};  // the same of the older API's descriptors
  std::atomic<std::int64_t> lie{0};
};

// The older API's descriptors are pointers to these.
struct Tensor {
  cudnnDataType_t type = CUDNN_DATA_HALF;
  int count = 4;
  std::array<int, 4> dims{};
  std::array<int, 4> strides{};
};
struct Convolution {
  int pad = 1;
};

// Looked up by dlsym under this name.
extern "C" State* fake_cudnn_state();
// The library's own functions, whatever stands before them.
struct Table {
  decltype(&::cudnnBackendCreateDescriptor) create;
  decltype(&::cudnnBackendDestroyDescriptor) destroy;
  decltype(&::cudnnBackendSetAttribute) set;
  decltype(&::cudnnBackendGetAttribute) get;
  decltype(&::cudnnBackendFinalize) finalize;
};
extern "C" const Table* fake_cudnn_table();
// Of a configuration; -1 while it is unfinalised.
extern "C" std::int64_t fake_cudnn_engine_of(cudnnBackendDescriptor_t configuration);

}  // namespace fake_cudnn
