// The exported symbols: what stands between an application and cuDNN. Nothing happens when this
// library is loaded; everything starts with the first call of cuDNN.
#include "libclient/shim/interpose.h"

#include "libclient/shim/libcudnn.h"
#include "libclient/shim/session.h"

#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <cstring>
#include <string_view>

namespace reformer::shim {
namespace {

std::shared_ptr<Served> served_by(Session& session, cudnnBackendDescriptor_t heuristics) {
  std::shared_ptr<Served> served;
  session.descriptors().with<HeuristicsRecord>(
      heuristics, [&served](const HeuristicsRecord& record) { served = record.served; });
  return served;
}

bool is_of_plans(cudnnBackendAttributeName_t name) {
  return name >= CUDNN_ATTR_EXECUTION_PLAN_HANDLE && name < CUDNN_ATTR_INTERMEDIATE_INFO_UNIQUE_ID;
}

// What must outlive the application's interest in a descriptor, if others still need it.
std::shared_ptr<Kept> let_go(Record& record) {
  if (auto* graph = std::get_if<GraphRecord>(&record)) {
    return std::move(graph->kept);
  }
  if (auto* properties = std::get_if<DevicePropertiesRecord>(&record)) {
    return std::move(properties->kept);
  }
  if (auto* configuration = std::get_if<ConfigurationRecord>(&record)) {
    return std::move(configuration->kept);
  }
  return nullptr;
}

// Gives a skipped query back to cuDNN: the real Finalize, late.
void step_aside(Session& session, const RealCudnn& real, cudnnBackendDescriptor_t heuristics) {
  std::shared_ptr<Served> served;
  session.descriptors().with<HeuristicsRecord>(
      heuristics, [&served](HeuristicsRecord& record) { served.swap(record.served); });
  if (served != nullptr) {
    if (served->following == 0) {
      real.finalize(heuristics);
    }
  }
}

// Answers GetAttribute of a skipped query. False: it is cuDNN's to answer.
bool get_results(Session& session,
                 const RealCudnn& real,
                 cudnnBackendDescriptor_t descriptor,
                 cudnnBackendAttributeName_t name,
                 cudnnBackendAttributeType_t type,
                 std::int64_t requested,
                 std::int64_t* count,
                 void* values) {
  const std::shared_ptr<Served> served = served_by(session, descriptor);
  if (served == nullptr) {
    return false;
  }
  if (name != CUDNN_ATTR_ENGINEHEUR_RESULTS || type != CUDNN_TYPE_BACKEND_DESCRIPTOR ||
      requested < 0) {
    step_aside(session, real, descriptor);
    return false;
  }
  std::optional<std::int64_t> answered;
  if (requested > 0 && values != nullptr) {
    auto* configurations = static_cast<cudnnBackendDescriptor_t*>(values);
    answered = session.is_filled(configurations[0])
                   ? 0
                   : session.fetch(real, descriptor, served, requested, configurations);
  } else {
    answered = session.on_offer(*served);
  }
  if (!answered) {
    step_aside(session, real, descriptor);
    return false;
  }
  if (count != nullptr) {
    *count = *answered;
  }
  return true;
}

// What has not been reported yet. By now other threads may be gone, so nothing is waited for.
__attribute__((destructor)) void report_at_exit() {
  if (Session* session = Session::existing()) {
    session->client().flush_at_exit();
  }
}

}  // namespace
}  // namespace reformer::shim

using reformer::shim::assisted;
using reformer::shim::is_of_plans;
using reformer::shim::real_cudnn;
using reformer::shim::RealCudnn;
using reformer::shim::Session;

extern "C" {

EXPORT cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type,
                                                  cudnnBackendDescriptor_t* descriptor) {
  SERVED_OR_PASS_ON(cudnnBackendCreateDescriptor, type, descriptor);
  const cudnnStatus_t status = real->create(type, descriptor);
  if (status == CUDNN_STATUS_SUCCESS) {
    (void)assisted([&](Session& session) {
      reformer::shim::Record record = reformer::shim::record_for(type);
      if (!std::holds_alternative<std::monostate>(record)) {
        session.descriptors().put(*descriptor, std::move(record));
      }
      return true;
    });
  }
  return status;
}

EXPORT cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor) {
  SERVED_OR_PASS_ON(cudnnBackendDestroyDescriptor, descriptor);
  // Before the real call: the address is free for others right after it.
  const bool put_off = assisted([&](Session& session) {
    reformer::shim::Record record = session.descriptors().take(descriptor);
    const std::shared_ptr<reformer::shim::Kept> kept = reformer::shim::let_go(record);
    if (kept == nullptr || kept.use_count() == 1) {
      return false;
    }
    kept->destroy_at_last(real->destroy);
    return true;
  });
  return put_off ? CUDNN_STATUS_SUCCESS : real->destroy(descriptor);
}

EXPORT cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor,
                                              cudnnBackendAttributeName_t name,
                                              cudnnBackendAttributeType_t type,
                                              int64_t count,
                                              const void* values) {
  SERVED_OR_PASS_ON(cudnnBackendSetAttribute, descriptor, name, type, count, values);
  bool put_off = false;
  if (name == CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG && count == 1 && values != nullptr) {
    put_off = assisted([&](Session& session) {
      const auto configuration = *static_cast<const cudnnBackendDescriptor_t*>(values);
      session.build_pending(*real, configuration);
      return session.put_off_configuration(*real, descriptor, configuration);
    });
  } else if (is_of_plans(name) && name != CUDNN_ATTR_EXECUTION_PLAN_HANDLE) {
    (void)assisted([&](Session& session) {
      session.give_configuration(*real, descriptor);
      return true;
    });
  }
  const cudnnStatus_t status =
      put_off ? CUDNN_STATUS_SUCCESS : real->set(descriptor, name, type, count, values);
  if (status == CUDNN_STATUS_SUCCESS) {
    (void)assisted([&](Session& session) {
      reformer::shim::note_attribute(session.descriptors(), descriptor, name, type, count, values);
      return true;
    });
  }
  return status;
}

EXPORT cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor) {
  SERVED_OR_PASS_ON(cudnnBackendFinalize, descriptor);
  const bool answered = assisted([&](Session& session) {
    return session.answer(*real, descriptor) || session.load(*real, descriptor);
  });
  return answered ? CUDNN_STATUS_SUCCESS : real->finalize(descriptor);
}

EXPORT cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t const descriptor,
                                              cudnnBackendAttributeName_t name,
                                              cudnnBackendAttributeType_t type,
                                              int64_t requested,
                                              int64_t* count,
                                              void* values) {
  SERVED_OR_PASS_ON(cudnnBackendGetAttribute, descriptor, name, type, requested, count, values);
  const bool answered = assisted([&](Session& session) {
    if (name >= CUDNN_ATTR_ENGINECFG_ENGINE && name <= CUDNN_ATTR_ENGINECFG_SHARED_MEMORY_USED) {
      session.build_pending(*real, descriptor);
      return false;
    }
    if (is_of_plans(name)) {
      session.give_configuration(*real, descriptor);
      return false;
    }
    return reformer::shim::get_results(
        session, *real, descriptor, name, type, requested, count, values);
  });
  if (answered) {
    return CUDNN_STATUS_SUCCESS;
  }
  const cudnnStatus_t status = real->get(descriptor, name, type, requested, count, values);
  if (status == CUDNN_STATUS_SUCCESS && name == CUDNN_ATTR_ENGINEHEUR_RESULTS && count != nullptr &&
      values != nullptr && *count > 0 && *count <= requested) {
    (void)assisted([&](Session& session) {
      session.note_filled(
          {static_cast<const cudnnBackendDescriptor_t*>(values), static_cast<std::size_t>(*count)});
      return true;
    });
  }
  return status;
}

EXPORT cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle,
                                         cudnnBackendDescriptor_t plan,
                                         cudnnBackendDescriptor_t pack) {
  SERVED_OR_PASS_ON(cudnnBackendExecute, handle, plan, pack);
  reformer::shim::Execution execution;
  (void)assisted([&](Session& session) {
    execution = session.begin_execution(*real, handle, plan);
    return true;
  });
  const cudnnStatus_t status = real->execute(handle, plan, pack);
  if (execution.counter != nullptr) {
    (void)assisted([&](Session& session) {
      session.end_execution(execution, status == CUDNN_STATUS_SUCCESS);
      return true;
    });
  }
  return status;
}

// A graph that is launched later, nobody says how often: it counts as one execution.
EXPORT cudnnStatus_t cudnnBackendPopulateCudaGraph(cudnnHandle_t handle,
                                                   cudnnBackendDescriptor_t plan,
                                                   cudnnBackendDescriptor_t pack,
                                                   cudaGraph_t graph) {
  SERVED_OR_PASS_ON(cudnnBackendPopulateCudaGraph, handle, plan, pack, graph);
  if (real->populate_graph == nullptr) {
    return CUDNN_STATUS_NOT_INITIALIZED;
  }
  const cudnnStatus_t status = real->populate_graph(handle, plan, pack, graph);
  if (status == CUDNN_STATUS_SUCCESS) {
    (void)assisted([&](Session& session) {
      session.end_execution(session.begin_execution(*real, nullptr, plan), true);
      return true;
    });
  }
  return status;
}

}  // extern "C"

namespace {

std::string_view file_name_of(const char* path) {
  const char* slash = path == nullptr ? nullptr : std::strrchr(path, '/');
  return slash != nullptr ? slash + 1 : path != nullptr ? path : "";
}

const reformer::shim::Interposed* find_interposed(std::string_view name) {
  for (const auto& all :
       {reformer::shim::interposed_backend(), reformer::shim::interposed_legacy()}) {
    for (const auto& interposed : all) {
      if (interposed.name == name) {
        return &interposed;
      }
    }
  }
  return nullptr;
}

}  // namespace

std::span<const reformer::shim::Interposed> reformer::shim::interposed_backend() {
  static const Interposed functions[] = {
      {"cudnnBackendCreateDescriptor", reinterpret_cast<void*>(&cudnnBackendCreateDescriptor)},
      {"cudnnBackendDestroyDescriptor", reinterpret_cast<void*>(&cudnnBackendDestroyDescriptor)},
      {"cudnnBackendSetAttribute", reinterpret_cast<void*>(&cudnnBackendSetAttribute)},
      {"cudnnBackendGetAttribute", reinterpret_cast<void*>(&cudnnBackendGetAttribute)},
      {"cudnnBackendFinalize", reinterpret_cast<void*>(&cudnnBackendFinalize)},
      {"cudnnBackendExecute", reinterpret_cast<void*>(&cudnnBackendExecute)},
      {"cudnnBackendPopulateCudaGraph", reinterpret_cast<void*>(&cudnnBackendPopulateCudaGraph)},
  };
  return functions;
}

extern "C" {

// What a dlsym of `name` by `caller` is to be answered with, or null: the next dlsym's answer.
__attribute__((visibility("hidden"), used)) void* reformer_shim_choose(void* handle,
                                                                       const char* name,
                                                                       void* caller) {
  if (name == nullptr || std::strncmp(name, "cudnn", 5) != 0 || handle == RTLD_DEFAULT ||
      handle == RTLD_NEXT) {
    return nullptr;
  }
  const reformer::shim::Interposed* interposed = find_interposed(name);
  if (interposed == nullptr) {
    return nullptr;
  }
  // cuDNN's dispatcher looks its own parts up under the same names.
  Dl_info where{};
  if (::dladdr(caller, &where) != 0 && file_name_of(where.dli_fname).starts_with("libcudnn")) {
    return nullptr;
  }
  link_map* map = nullptr;
  if (::dlinfo(handle, RTLD_DI_LINKMAP, &map) != 0 || map == nullptr ||
      !reformer::shim::is_cudnn(map->l_name)) {
    return nullptr;
  }
  const RealCudnn* real = real_cudnn(map->l_name);
  // A stand-in of what the library does not have would be a lie.
  return real != nullptr && real->path == map->l_name &&
                 reformer::shim::real_function(name) != nullptr
             ? interposed->function
             : nullptr;
}
__attribute__((visibility("hidden"), used)) void* reformer_shim_next_dlsym() {
  return reformer::shim::next_dlsym();
}
__attribute__((visibility("hidden"), used)) void* reformer_shim_next_dlvsym() {
  return reformer::shim::next_dlvsym();
}

}  // extern "C"

// dlsym reads its return address to know who asks (RTLD_NEXT), so the next one must be jumped to,
// not called: hence assembly, whatever the compiler's options.
#if !defined(__x86_64__)
#error "write the two jumps for this processor"
#endif
// clang-format off
#define JUMP_TO_NEXT(symbol, next)                    \
  ".globl " symbol "\n"                               \
  ".type " symbol ", @function\n"                     \
  symbol ":\n"                                        \
  "  .cfi_startproc\n"                                \
  "  endbr64\n"                                       \
  "  push %rdi\n  .cfi_adjust_cfa_offset 8\n"         \
  "  push %rsi\n  .cfi_adjust_cfa_offset 8\n"         \
  "  push %rdx\n  .cfi_adjust_cfa_offset 8\n"         \
  "  mov 24(%rsp), %rdx\n"                            \
  "  call reformer_shim_choose\n"                     \
  "  test %rax, %rax\n"                               \
  "  jnz 1f\n"                                        \
  "  call " next "\n"                                 \
  "  test %rax, %rax\n"                               \
  "  jz 1f\n"                                         \
  "  pop %rdx\n  .cfi_adjust_cfa_offset -8\n"         \
  "  pop %rsi\n  .cfi_adjust_cfa_offset -8\n"         \
  "  pop %rdi\n  .cfi_adjust_cfa_offset -8\n"         \
  "  jmp *%rax\n"                                     \
  "  .cfi_adjust_cfa_offset 24\n"                     \
  "1:\n"                                              \
  "  add $24, %rsp\n  .cfi_adjust_cfa_offset -24\n"   \
  "  ret\n"                                           \
  "  .cfi_endproc\n"                                  \
  ".size " symbol ", . - " symbol "\n"
asm(".text\n"
    JUMP_TO_NEXT("dlsym", "reformer_shim_next_dlsym")
    JUMP_TO_NEXT("dlvsym", "reformer_shim_next_dlvsym"));
// clang-format on
