#pragma once

#include "core/result.h"

#include <cudnn.h>

#include <string>

// cuDNN's entry points that this module calls. Private to cudnn/.
namespace reformer::cudnn {

struct Functions {
  decltype(&::cudnnGetVersion) get_version = nullptr;
  decltype(&::cudnnGetCudartVersion) get_cudart_version = nullptr;
  decltype(&::cudnnGetErrorString) get_error_string = nullptr;
  decltype(&::cudnnCreate) create = nullptr;
  decltype(&::cudnnDestroy) destroy = nullptr;
  decltype(&::cudnnSetStream) set_stream = nullptr;
  decltype(&::cudnnBackendCreateDescriptor) create_descriptor = nullptr;
  decltype(&::cudnnBackendDestroyDescriptor) destroy_descriptor = nullptr;
  decltype(&::cudnnBackendSetAttribute) set_attribute = nullptr;
  decltype(&::cudnnBackendGetAttribute) get_attribute = nullptr;
  decltype(&::cudnnBackendFinalize) finalize = nullptr;
  decltype(&::cudnnBackendExecute) execute = nullptr;
};

// "cudnnBackendFinalize(engine): CUDNN_STATUS_NOT_SUPPORTED (3000)".
[[nodiscard]] core::Error status_error(const Functions& functions,
                                       const std::string& what,
                                       cudnnStatus_t status);

}  // namespace reformer::cudnn
