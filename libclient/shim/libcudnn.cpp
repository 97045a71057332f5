#include "libclient/shim/libcudnn.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>

#include <cstring>
#include <memory>
#include <mutex>

namespace reformer::shim {
namespace {

std::string_view file_name(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

// A defined function of an object that is loaded, by its own symbol table: dlsym itself is
// interposed by this library, and asking the linker would find the interposer.
struct SymbolSearch {
  const char* name = nullptr;
  void* found = nullptr;
};

const ElfW(Sym) * find_symbol(ElfW(Addr) base, const ElfW(Dyn) * dynamic, const char* name) {
  const ElfW(Sym)* symbols = nullptr;
  const char* strings = nullptr;
  const std::uint32_t* hash = nullptr;
  for (; dynamic->d_tag != DT_NULL; ++dynamic) {
    // glibc has relocated these already, musl and the vDSO have not.
    const ElfW(Addr) value = dynamic->d_un.d_ptr;
    const ElfW(Addr) address = value < base ? base + value : value;
    if (dynamic->d_tag == DT_SYMTAB) {
      symbols = reinterpret_cast<const ElfW(Sym)*>(address);
    } else if (dynamic->d_tag == DT_STRTAB) {
      strings = reinterpret_cast<const char*>(address);
    } else if (dynamic->d_tag == DT_GNU_HASH) {
      hash = reinterpret_cast<const std::uint32_t*>(address);
    }
  }
  if (symbols == nullptr || strings == nullptr || hash == nullptr) {
    return nullptr;
  }
  // DT_GNU_HASH: bucket count, first symbol, bloom words, bloom shift, bloom, buckets, chains.
  const std::uint32_t bucket_count = hash[0];
  const std::uint32_t first = hash[1];
  const std::uint32_t* buckets = hash + 4 + hash[2] * (sizeof(ElfW(Addr)) / sizeof *hash);
  const std::uint32_t* chains = buckets + bucket_count;
  std::uint32_t wanted = 5381;
  for (const char* c = name; *c != '\0'; ++c) {
    wanted = wanted * 33 + static_cast<unsigned char>(*c);
  }
  std::uint32_t index = bucket_count == 0 ? 0 : buckets[wanted % bucket_count];
  if (index < first) {
    return nullptr;
  }
  while (true) {
    const std::uint32_t entry = chains[index - first];
    const ElfW(Sym)& symbol = symbols[index];
    if ((entry | 1) == (wanted | 1) && symbol.st_shndx != SHN_UNDEF &&
        std::strcmp(strings + symbol.st_name, name) == 0) {
      return &symbol;
    }
    if ((entry & 1) != 0) {
      return nullptr;
    }
    ++index;
  }
}

int search_libc(dl_phdr_info* info, std::size_t, void* data) {
  auto& search = *static_cast<SymbolSearch*>(data);
  const std::string_view name = file_name(info->dlpi_name == nullptr ? "" : info->dlpi_name);
  if (!name.starts_with("libc.so") && !name.starts_with("libdl.so")) {
    return 0;
  }
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    if (info->dlpi_phdr[i].p_type == PT_DYNAMIC) {
      const auto* dynamic =
          reinterpret_cast<const ElfW(Dyn)*>(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
      if (const auto* symbol = find_symbol(info->dlpi_addr, dynamic, search.name)) {
        search.found = reinterpret_cast<void*>(info->dlpi_addr + symbol->st_value);
        return 1;
      }
    }
  }
  return 0;
}

void* libc_function(const char* name) {
  SymbolSearch search{name};
  dl_iterate_phdr(search_libc, &search);
  return search.found;
}

struct LibrarySearch {
  std::string_view prefix;
  std::string path;
};

int search_library(dl_phdr_info* info, std::size_t, void* data) {
  auto& search = *static_cast<LibrarySearch*>(data);
  const std::string_view path = info->dlpi_name == nullptr ? "" : info->dlpi_name;
  if (!file_name(path).starts_with(search.prefix)) {
    return 0;
  }
  search.path = path;
  return 1;
}

template <typename Function>
bool resolve(void* handle, const char* name, Function& function) {
  function = reinterpret_cast<Function>(real_dlsym()(handle, name));
  return function != nullptr;
}

std::unique_ptr<RealCudnn> find_cudnn() {
  auto real = std::make_unique<RealCudnn>();
  real->path = loaded_library("libcudnn.so");
  if (real->path.empty() || real_dlsym() == nullptr) {
    return nullptr;
  }
  // Keeps the library from now on: its functions are called until the process ends.
  void* handle = ::dlopen(real->path.c_str(), RTLD_NOLOAD | RTLD_LAZY | RTLD_LOCAL);
  if (handle == nullptr || !resolve(handle, "cudnnBackendCreateDescriptor", real->create) ||
      !resolve(handle, "cudnnBackendDestroyDescriptor", real->destroy) ||
      !resolve(handle, "cudnnBackendSetAttribute", real->set) ||
      !resolve(handle, "cudnnBackendGetAttribute", real->get) ||
      !resolve(handle, "cudnnBackendFinalize", real->finalize) ||
      !resolve(handle, "cudnnBackendExecute", real->execute) ||
      !resolve(handle, "cudnnGetVersion", real->get_version)) {
    return nullptr;
  }
  (void)resolve(handle, "cudnnGetStream", real->get_stream);
  (void)resolve(handle, "cudnnBackendPopulateCudaGraph", real->populate_graph);
  (void)resolve(handle, "cudnnBackendUpdateCudaGraph", real->update_graph);
  return real;
}

}  // namespace

void* real_function(const char* name) noexcept {
  const RealCudnn* real = real_cudnn();
  return real == nullptr ? nullptr : loaded_symbol(real->path, name);
}

DlsymFunction real_dlsym() noexcept {
  static std::atomic<void*> found{nullptr};
  void* function = found.load(std::memory_order_acquire);
  if (function == nullptr) {
    function = libc_function("dlsym");
    found.store(function, std::memory_order_release);
  }
  return reinterpret_cast<DlsymFunction>(function);
}

DlvsymFunction real_dlvsym() noexcept {
  static std::atomic<void*> found{nullptr};
  void* function = found.load(std::memory_order_acquire);
  if (function == nullptr) {
    function = libc_function("dlvsym");
    found.store(function, std::memory_order_release);
  }
  return reinterpret_cast<DlvsymFunction>(function);
}

std::mutex& loader_mutex() {
  static auto* mutex = new std::mutex;  // not destroyed: used until the process has ended
  return *mutex;
}

std::string loaded_library(std::string_view prefix) {
  LibrarySearch search{prefix, {}};
  const std::lock_guard lock(loader_mutex());
  dl_iterate_phdr(search_library, &search);
  return search.path;
}

void* loaded_symbol(const std::string& path, const char* name) {
  void* handle = path.empty() ? nullptr : ::dlopen(path.c_str(), RTLD_NOLOAD | RTLD_LAZY);
  return handle == nullptr ? nullptr : real_dlsym()(handle, name);
}

const RealCudnn* real_cudnn() noexcept {
  static std::atomic<const RealCudnn*> found{nullptr};
  const RealCudnn* real = found.load(std::memory_order_acquire);
  if (real != nullptr) {
    return real;
  }
  try {
    std::unique_ptr<RealCudnn> fresh = find_cudnn();
    if (fresh == nullptr || found.compare_exchange_strong(real, fresh.get())) {
      return fresh.release();  // lives as long as the process
    }
    return real;
  } catch (...) {
    return nullptr;
  }
}

}  // namespace reformer::shim
