#pragma once

#include "cli/command.h"

// Every subcommand that talks to a daemon, or needs nothing at all. Those that train, evaluate and
// sweep are in command.h.
namespace reformer::cli {

void add_status(CLI::App& app, Session& session);
void add_stats(CLI::App& app, Session& session);
void add_clients(CLI::App& app, Session& session);
void add_check(CLI::App& app, Session& session);

void add_list(CLI::App& app, Session& session);
void add_show(CLI::App& app, Session& session);
void add_explain(CLI::App& app, Session& session);
void add_query(CLI::App& app, Session& session);
void add_verify(CLI::App& app, Session& session);
void add_forget(CLI::App& app, Session& session);
void add_diff(CLI::App& app, Session& session);

void add_import(CLI::App& app, Session& session);
void add_export(CLI::App& app, Session& session);
void add_merge(CLI::App& app, Session& session);

void add_models(CLI::App& app, Session& session);
void add_promote(CLI::App& app, Session& session);
void add_ablation(CLI::App& app, Session& session);
void add_accuracy(CLI::App& app, Session& session);

void add_run(CLI::App& app, Session& session);
void add_freeze(CLI::App& app, Session& session);

void add_reload(CLI::App& app, Session& session);
void add_compact(CLI::App& app, Session& session);

}  // namespace reformer::cli
