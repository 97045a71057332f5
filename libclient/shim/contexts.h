#pragma once

#include "libclient/client.h"
#include "libclient/shim/descriptors.h"
#include "libclient/shim/device.h"
#include "libclient/shim/libcudnn.h"

#include <cudnn.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <mutex>
#include <optional>

namespace reformer::shim {

// Which GPU and library a question is about: the client's number of it, made when it is first
// needed. A GPU is known by device properties, by the handle that was made on it, or as the current
// one.
//
// Threads: any. No lock is held across a call of cuDNN or CUDA.
class Contexts {
 public:
  Contexts(client::Client& client, Descriptors& descriptors)
      : client_(client), descriptors_(descriptors) {}

  // All are empty where the GPU is not understood.
  std::optional<std::size_t> of(const RealCudnn& real, cudnnBackendDescriptor_t device_properties);
  // The current GPU where the handle is not known, or null.
  std::optional<std::size_t> of(const RealCudnn& real, cudnnHandle_t handle);

  // A handle belongs to the GPU that was current when it was made.
  void note_handle(cudnnHandle_t handle);
  void forget_handle(cudnnHandle_t handle);

  // Around a fork.
  void lock() { mutex_.lock(); }
  void unlock() { mutex_.unlock(); }

 private:
  std::optional<std::size_t> of(const RealCudnn& real, std::optional<CuDevice> ordinal);
  std::optional<CuDevice> ordinal_of(cudnnHandle_t handle);

  client::Client& client_;
  Descriptors& descriptors_;
  static constexpr std::size_t kOrdinals = 64;
  std::array<std::atomic<std::size_t>, kOrdinals> known_{};  // by GPU; the context + 1
  static constexpr std::size_t kHandles = 64;
  struct Handle {
    cudnnHandle_t handle;
    CuDevice ordinal;
  };
  std::mutex mutex_;
  std::array<Handle, kHandles> handles_{};  // under mutex_; those past it belong to the current GPU
};

}  // namespace reformer::shim
