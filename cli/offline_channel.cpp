#include "cli/offline_channel.h"

#ifdef REFORMER_CLI_OFFLINE
#include "daemon/admin.h"
#endif

#include <exception>
#include <utility>

namespace reformer::cli {

#ifdef REFORMER_CLI_OFFLINE
namespace {

class OfflineChannel : public AdminChannel {
 public:
  explicit OfflineChannel(std::unique_ptr<daemon::OfflineAdmin> admin) : admin_(std::move(admin)) {}

  core::Status ask(std::string_view request, const OnPiece& on_piece) override {
    std::exception_ptr thrown;  // handle() promises never to throw, so nothing may pass through it
    bool wanted = true;
    const core::Status status =
        admin_->handle(request, [&](const std::string& json, bool /*more*/) {
          try {
            wanted = wanted && on_piece(json);
          } catch (...) {
            thrown = std::current_exception();
            wanted = false;
          }
          return wanted;
        });
    if (thrown) {
      std::rethrow_exception(thrown);
    }
    return status;
  }

 private:
  std::unique_ptr<daemon::OfflineAdmin> admin_;
};

}  // namespace

core::Result<std::unique_ptr<AdminChannel>> open_offline_channel(const std::string& state_dir) {
  auto admin = daemon::OfflineAdmin::open(state_dir);
  if (!admin) {
    return core::in_context(state_dir, admin.error());
  }
  return std::unique_ptr<AdminChannel>(std::make_unique<OfflineChannel>(*std::move(admin)));
}
#else
core::Result<std::unique_ptr<AdminChannel>> open_offline_channel(const std::string& state_dir) {
  return core::make_error(core::ErrorCode::kUnsupported,
                          state_dir + ": this reformerctl was built without --offline");
}
#endif

}  // namespace reformer::cli
