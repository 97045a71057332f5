#include "cli/record_view.h"

#include "cli/table.h"
#include "cli/units.h"
#include "core/types.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <ctime>

namespace reformer::cli {
namespace {

// By cudnnBackendNumericalNote_t.
constexpr std::array<const char*, 10> kNumericalNotes{"tensor-core",
                                                      "down-convert",
                                                      "reduced-reduction",
                                                      "fft",
                                                      "nondeterministic",
                                                      "winograd",
                                                      "winograd-4x4",
                                                      "winograd-6x6",
                                                      "winograd-13x13",
                                                      "strict-nan"};

std::string note_name(std::uint64_t number) {
  return number < kNumericalNotes.size() ? kNumericalNotes[number] : fmt::format("note-{}", number);
}

// "a 0, b 2": where cuDNN's own heuristics list it.
std::string rank_text(const Json& candidate) {
  const Json& rank = member(candidate, "rank");
  if (!rank.is_object()) {
    return "-";
  }
  std::string text;
  for (const char* list : {"a", "b", "fallback"}) {
    const auto found = rank.find(list);
    if (found != rank.end() && found->is_number_integer() && *found >= 0) {
      text += fmt::format("{}{} {}", text.empty() ? "" : ", ", list, integer_of(rank, list));
    }
  }
  return text.empty() ? "-" : text;
}

void print_provenance(Facts& facts, const Json& record) {
  const Json& provenance = object_of(record, "provenance");
  const auto at = static_cast<std::int64_t>(
      count_or(provenance, "measured_at_s", count_or(provenance, "measured_at", 0)));
  std::string text = text_or(provenance, "source", "unknown");
  if (at > 0) {
    text += ", " + human_age(at, std::time(nullptr));
  }
  if (const std::string library = text_or(provenance, "library", ""); !library.empty()) {
    text += ", " + library;
  }
  const bool disturbed = flag_or(provenance, "disturbed", false);
  facts.add("measured",
            {text + (disturbed ? ", on a busy or throttled GPU" : ""),
             disturbed ? Tone::kWarning : Tone::kPlain});
}

// The numerical notes of an entry, and what a model says of it.
std::string decision_notes_text(const Json& entry) {
  std::string text = numerical_notes_text(member(entry, "numerical_notes"));
  const Json& behavior = member(entry, "behavior_notes");
  const std::uint64_t bits =
      behavior.is_number_unsigned() ? behavior.get<std::uint64_t>() : std::uint64_t{0};
  const auto add = [&](std::uint32_t bit, const char* name) {
    if ((bits & bit) != 0) {
      text += (text.empty() ? "" : ", ") + std::string(name);
    }
  };
  add(core::behavior_note::kRarelyListed, "rarely listed");
  add(core::behavior_note::kFarBehind, "far behind");
  return text;
}

}  // namespace

std::string numerical_notes_text(const Json& notes) {
  std::string text;
  const auto add = [&](const std::string& name) { text += (text.empty() ? "" : ", ") + name; };
  if (notes.is_number_unsigned()) {
    const auto bits = notes.get<std::uint64_t>();
    for (std::uint64_t bit = 0; bit < 32; ++bit) {
      if ((bits >> bit & 1) != 0) {
        add(note_name(bit));
      }
    }
  } else if (notes.is_array()) {
    for (const Json& note : notes) {
      if (note.is_number_unsigned()) {
        add(note_name(note.get<std::uint64_t>()));
      } else if (note.is_string()) {
        add(note.get<std::string>());
      }
    }
  }
  return text;
}

void print_record(Session& session, const Json& record) {
  Facts facts;
  facts.add("problem", text_of(record, "problem"));
  facts.add("key", text_of(record, "key"));
  facts.add("on",
            fmt::format("{}, cuDNN {}", text_of(record, "device"), integer_of(record, "cudnn")));
  print_provenance(facts, record);
  facts.add("uses", human_count(count_or(record, "uses", 0)));
  facts.print(*session.out, session.colour);

  Table table({{"engine:knobs", Align::kLeft, Fit::kShrink},
               {"time", Align::kRight},
               {"slower", Align::kRight},
               {"timing"},
               {"rank"},
               {"workspace", Align::kRight},
               {"build", Align::kRight},
               {"notes", Align::kLeft, Fit::kShrink}});
  for (const Json& candidate : array_of(record, "candidates")) {
    const double slowdown = number_or_nan(candidate, "slowdown");
    const std::string status = text_or(candidate, "status", "");
    table.add({text_of(candidate, "config"),
               human_us(number_or_nan(candidate, "time_us")),
               {human_factor(slowdown), slowdown <= 1 ? Tone::kGood : Tone::kPlain},
               text_of(candidate, "timing"),
               rank_text(candidate),
               human_bytes(number_or_nan(candidate, "workspace_bytes")),
               human_us(number_or_nan(candidate, "build_us")),
               status.empty()
                   ? Cell(numerical_notes_text(member(candidate, "numerical_notes")), Tone::kFaint)
                   : Cell(status, Tone::kWarning)});
  }
  *session.out << '\n';
  table.print(*session.out, session.colour);
}

void print_decision(Session& session, const Json& decision) {
  const std::string source = text_of(decision, "source");
  std::string heading = source;
  if (source == "abstain") {
    heading += ": the application uses cuDNN's own heuristic";
  } else if (source == "predicted") {
    heading += fmt::format(" by {}, {} sure to be within 5 % of the best",
                           text_or(decision, "model", "?"),
                           human_share(number_of(decision, "confidence")));
  }
  Facts facts;
  facts.add("answer", {heading, source == "abstain" ? Tone::kWarning : Tone::kGood});
  facts.print(*session.out, session.colour);
  const Json& entries = array_of(decision, "entries");
  if (entries.empty()) {
    return;
  }
  Table table({{"", Align::kRight},
               {"engine:knobs", Align::kLeft, Fit::kShrink},
               {"time", Align::kRight},
               {"workspace", Align::kRight},
               {"build", Align::kRight},
               {"notes", Align::kLeft, Fit::kShrink}});
  std::size_t place = 0;
  for (const Json& entry : entries) {
    table.add({fmt::format("{}", ++place),
               text_of(entry, "config"),
               human_us(number_or_nan(entry, "time_us")),
               human_bytes(number_or_nan(entry, "workspace_bytes")),
               human_us(number_or_nan(entry, "build_us")),
               {decision_notes_text(entry), Tone::kFaint}});
  }
  table.print(*session.out, session.colour);
}

}  // namespace reformer::cli
