#include "libclient/shim/libcudnn.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>

#include <array>
#include <cstdint>
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

// The first object whose path fits.
struct LibrarySearch {
  bool (*fits)(std::string_view path, std::string_view wanted) = nullptr;
  std::string_view wanted;
  std::string path;
};

int search_library(dl_phdr_info* info, std::size_t, void* data) {
  auto& search = *static_cast<LibrarySearch*>(data);
  const std::string_view path = info->dlpi_name == nullptr ? "" : info->dlpi_name;
  if (!search.fits(path, search.wanted)) {
    return 0;
  }
  search.path = path;
  return 1;
}

std::string search_loaded(LibrarySearch search) {
  const std::lock_guard lock(loader_mutex());
  dl_iterate_phdr(search_library, &search);
  return search.path;
}

// The loaded object that an address lies in; nothing in it if there is none.
Dl_info object_of(const void* address) {
  Dl_info info{};
  if (address == nullptr || ::dladdr(address, &info) == 0) {
    info = {};
  }
  return info;
}

template <typename Function>
bool resolve(void* handle, const char* name, Function& function) {
  function = reinterpret_cast<Function>(real_dlsym()(handle, name));
  return function != nullptr;
}

// Null if it lacks what every cuDNN 8 and 9 has.
std::unique_ptr<RealCudnn> open_cudnn(const std::string& path) {
  auto real = std::make_unique<RealCudnn>();
  real->path = path;
  if (path.empty() || real_dlsym() == nullptr) {
    return nullptr;
  }
  // Keeps the library from now on: its functions are called until the process ends.
  void* handle = ::dlopen(path.c_str(), RTLD_NOLOAD | RTLD_LAZY | RTLD_LOCAL);
  if (handle == nullptr || !resolve(handle, "cudnnBackendCreateDescriptor", real->create) ||
      !resolve(handle, "cudnnBackendDestroyDescriptor", real->destroy) ||
      !resolve(handle, "cudnnBackendSetAttribute", real->set) ||
      !resolve(handle, "cudnnBackendGetAttribute", real->get) ||
      !resolve(handle, "cudnnBackendFinalize", real->finalize) ||
      !resolve(handle, "cudnnBackendExecute", real->execute) ||
      !resolve(handle, "cudnnGetVersion", real->get_version)) {
    return nullptr;
  }
  (void)resolve(handle, "cudnnGetCudartVersion", real->get_cudart_version);
  (void)resolve(handle, "cudnnGetStream", real->get_stream);
  (void)resolve(handle, "cudnnBackendPopulateCudaGraph", real->populate_graph);
  (void)resolve(handle, "cudnnBackendUpdateCudaGraph", real->update_graph);
  real->base = object_of(reinterpret_cast<const void*>(real->create)).dli_fbase;
  return real;
}

// A function by the rules that bind a call to the global scope, without the shim; null: it has
// none.
void* next_in_global_scope(const char* name) {
  return real_dlsym()(RTLD_NEXT, name);
}

// What most calls will be for: the copy in the global scope, else the one that is called, else any.
std::string choose_cudnn(const char* called) {
  if (real_dlsym() == nullptr) {
    return {};
  }
  const char* global = object_of(next_in_global_scope("cudnnBackendCreateDescriptor")).dli_fname;
  if (global != nullptr && is_cudnn(global)) {
    return global;
  }
  if (called != nullptr) {
    return called;
  }
  return search_loaded(
      {[](std::string_view path, std::string_view) { return is_cudnn(path); }, {}, {}});
}

// The same by the libraries that the calling object was linked with.
void* in_scope_of(const void* call_site, const char* name) {
  const Dl_info caller = object_of(call_site);
  if (caller.dli_fname == nullptr || caller.dli_fname[0] == '\0') {
    return nullptr;
  }
  void* handle = ::dlopen(caller.dli_fname, RTLD_NOLOAD | RTLD_LAZY | RTLD_LOCAL);
  if (handle == nullptr) {
    return nullptr;
  }
  void* found = real_dlsym()(handle, name);
  (void)::dlclose(handle);  // it may be unloaded later, as it might have been
  const void* here = object_of(reinterpret_cast<const void*>(&is_cudnn)).dli_fbase;
  return found != nullptr && object_of(found).dli_fbase == here ? nullptr : found;
}

Route find_route(const char* name, const void* call_site) {
  if (real_dlsym() == nullptr) {
    return {};
  }
  void* function = next_in_global_scope(name);
  if (function == nullptr) {
    function = in_scope_of(call_site, name);
  }
  if (function == nullptr) {
    return {real_cudnn(), nullptr};
  }
  const Dl_info object = object_of(function);
  const bool is_one = object.dli_fname != nullptr && is_cudnn(object.dli_fname);
  const RealCudnn* served = is_one ? real_cudnn(object.dli_fname) : nullptr;
  return served != nullptr && served->base == object.dli_fbase ? Route{served, nullptr}
                                                               : Route{nullptr, function};
}

// How many objects the process has unloaded so far.
unsigned long long unloads() {
  unsigned long long count = 0;
  const std::lock_guard lock(loader_mutex());
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* data) {
        *static_cast<unsigned long long*>(data) = info->dlpi_subs;
        return 1;
      },
      &count);
  return count;
}

// Routes by name and call site. A full table, or two threads at once, cost a search. While all
// calls are for the served library, which is never unloaded, nothing can go stale; once one was
// not, a route holds as long as nothing is unloaded.
class Routes {
 public:
  bool find(std::uintptr_t key, Route& route) const {
    for (std::size_t probe = 0; probe < kProbes; ++probe) {
      const Place& place = places_[(key + probe) % kPlaces];
      if (place.key.load(std::memory_order_acquire) == key &&
          place.known.load(std::memory_order_acquire)) {
        if (several_.load(std::memory_order_acquire) && place.unloads != unloads()) {
          return false;
        }
        route.function = place.function;
        route.served = route.function == nullptr ? real_cudnn() : nullptr;
        return true;
      }
    }
    return false;
  }
  void keep(std::uintptr_t key, const Route& route) {
    if (route.served == nullptr) {
      several_.store(true, std::memory_order_release);
    }
    for (std::size_t probe = 0; probe < kProbes; ++probe) {
      Place& place = places_[(key + probe) % kPlaces];
      std::uintptr_t free = 0;
      if (place.key.compare_exchange_strong(free, key)) {
        place.function = route.function;
        place.unloads = unloads();
        place.known.store(true, std::memory_order_release);
        return;
      }
      if (free == key) {
        return;  // another thread's, or of before something was unloaded: searched each time
      }
    }
  }

 private:
  static constexpr std::size_t kPlaces = 2048;
  static constexpr std::size_t kProbes = 8;
  struct Place {
    std::atomic<std::uintptr_t> key{0};    // 0: free
    std::atomic<void*> function{nullptr};  // null: the served library's
    std::atomic<unsigned long long> unloads{0};
    std::atomic<bool> known{false};
  };
  std::array<Place, kPlaces> places_;
  std::atomic<bool> several_{false};
};
constinit Routes routes;

void* next_definition(const char* name, std::atomic<void*>& known) {
  void* function = known.load(std::memory_order_acquire);
  if (function == nullptr && real_dlsym() != nullptr) {
    function = real_dlsym()(RTLD_NEXT, name);
    function = function == nullptr ? libc_function(name) : function;
    known.store(function, std::memory_order_release);
  }
  return function;
}

}  // namespace

bool is_cudnn(std::string_view path) {
  constexpr std::string_view kName = "libcudnn";
  const std::string_view name = file_name(path);
  return name.starts_with(kName) && name.size() > kName.size() &&
         (name[kName.size()] == '.' || name[kName.size()] == '-') &&
         name.find(".so") != std::string_view::npos;
}

Route route_of(const char* name, const void* call_site) noexcept {
  const auto key = reinterpret_cast<std::uintptr_t>(call_site) * 0x9e3779b97f4a7c15u ^
                   reinterpret_cast<std::uintptr_t>(name);
  Route route;
  if (routes.find(key, route)) {
    return route;
  }
  route = find_route(name, call_site);
  if (route.served != nullptr || route.function != nullptr) {
    routes.keep(key, route);
  }
  return route;
}

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

void* next_dlsym() noexcept {
  static std::atomic<void*> found{nullptr};
  return next_definition("dlsym", found);
}

void* next_dlvsym() noexcept {
  static std::atomic<void*> found{nullptr};
  return next_definition("dlvsym", found);
}

std::mutex& loader_mutex() {
  static auto* mutex = new std::mutex;  // not destroyed: used until the process has ended
  return *mutex;
}

std::string loaded_library(std::string_view prefix) {
  return search_loaded({[](std::string_view path, std::string_view wanted) {
                          return file_name(path).starts_with(wanted);
                        },
                        prefix,
                        {}});
}

void* loaded_symbol(const std::string& path, const char* name) {
  void* handle = path.empty() ? nullptr : ::dlopen(path.c_str(), RTLD_NOLOAD | RTLD_LAZY);
  return handle == nullptr ? nullptr : real_dlsym()(handle, name);
}

const RealCudnn* real_cudnn(const char* called) noexcept {
  static std::atomic<const RealCudnn*> found{nullptr};
  const RealCudnn* real = found.load(std::memory_order_acquire);
  if (real != nullptr) {
    return real;
  }
  try {
    std::unique_ptr<RealCudnn> fresh = open_cudnn(choose_cudnn(called));
    if (fresh == nullptr || found.compare_exchange_strong(real, fresh.get())) {
      return fresh.release();  // lives as long as the process
    }
    return real;
  } catch (...) {
    return nullptr;
  }
}

}  // namespace reformer::shim
