#include "web/build_events.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "http/answers.h"
#include "json/json.h"
#include "os/fd.h"
#include "pipeline/keys.h"
#include "text/lines.h"
#include "text/public_text.h"
#include "text/utf8.h"
#include "tree/failures.h"

namespace nixery::web {

namespace {

constexpr std::size_t tail_size = 16u << 10;     // bytes of log for a client that connects later
constexpr std::size_t most_at_once = 32u << 10;  // bytes of log in one event
constexpr std::size_t longest_line = 2000;
constexpr std::size_t most_lines = 200;

enum class State { absent, queued, building, built, failed };

std::string_view name_of(State state) {
  switch (state) {
    case State::absent: return "absent";
    case State::queued: return "queued";
    case State::building: return "building";
    case State::built: return "built";
    case State::failed: return "failed";
  }
  return {};
}

struct Look {
  State state = State::absent;
  std::optional<pipeline::Snapshot> progress;  // of this worker's job
  std::optional<image::Digest> digest;         // if it is built
  std::string failure, message;                // if it failed
};

std::optional<image::Digest> published(const pipeline::Builder& builder, const tree::Tree& tree,
                                       const reference::Reference& reference) {
  if (!builder.tag_matches(reference)) return std::nullopt;
  return tree.digest_of_tag(reference.repository, reference.tag);
}

Look failed_with(const Error& error) {
  Look look;
  look.state = State::failed;
  look.failure = nixery::name_of(error.failure());
  look.message = http::message_of(error);
  return look;
}

Look look_at(const pipeline::Builder& builder, const tree::Tree& tree, const reference::Reference& reference,
             const std::shared_ptr<pipeline::BuildJob>& job) {
  Look look;
  if (job) {
    const auto result = job->result();
    if (result && result->error) return failed_with(*result->error);
    if (result) {
      look.state = State::built;
      look.digest = result->value->digest;
      return look;
    }
    look.progress = job->state().snapshot();
    look.state = look.progress->phase == pipeline::Phase::queued ? State::queued : State::building;
    return look;
  }
  look.digest = published(builder, tree, reference);
  if (look.digest) {
    look.state = State::built;
    return look;
  }
  const std::string key = pipeline::build_key(reference);
  if (tree.store().is_locked(key)) {
    look.state = State::building;
  } else if (const auto failure = tree::read_failure(tree.store(), key)) {
    look.state = State::failed;
    look.failure = failure->failure;
    look.message = text::public_text(failure->message);
  }
  return look;
}

void write_state(json::Writer& writer, const reference::Reference& reference, const Look& look, bool with_time) {
  json::member(writer, "reference", fmt::format("{}:{}", reference.repository, reference.tag));
  json::member(writer, "state", name_of(look.state));
  if (look.progress) {
    json::member(writer, "phase", pipeline::name_of(look.progress->phase));
    json::member(writer, "text", text::public_text(look.progress->what()));
    json::member(writer, "layersDone", look.progress->layers_done);
    json::member(writer, "layersTotal", look.progress->layers_total);
    json::member(writer, "bytesDone", look.progress->bytes_done);
    json::member(writer, "bytesTotal", look.progress->bytes_total);
    if (with_time) {
      const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(look.progress->elapsed).count();
      json::member(writer, "seconds", static_cast<std::uint64_t>(std::max<std::int64_t>(seconds, 0)));
    }
  } else if (look.state == State::building) {
    json::member(writer, "text", "another process builds it");
  }
  if (look.digest) json::member(writer, "digest", look.digest->str());
  if (look.state == State::failed) {
    json::member(writer, "failure", look.failure);
    json::member(writer, "message", look.message);
  }
}

void write_lines(json::Writer& writer, std::string_view key, const std::vector<std::string>& lines) {
  json::key(writer, key);
  writer.StartArray();
  for (const std::string& line : lines) json::string(writer, text::public_text(text::truncated(line, longest_line)));
  writer.EndArray();
}

std::string event(std::string_view name, std::string_view data) {
  return fmt::format("event: {}\ndata: {}\n\n", name, data);
}

// The bytes of a file from `from` on, at most `most_at_once`; empty if it cannot be read. A shorter file is a new one.
struct Piece {
  std::string text;
  std::size_t end = 0;
  bool skipped = false;  // bytes before `text` were omitted
};
Piece read_behind(const std::string& file, std::size_t from) {
  const os::Fd fd(open(file.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat status {};
  if (!fd || fstat(fd.get(), &status) != 0) return {{}, from, false};
  const auto size = static_cast<std::size_t>(status.st_size);
  Piece piece;
  if (size < from) from = 0;
  if (size - from > most_at_once) {
    from = size - tail_size;
    piece.skipped = true;
  }
  piece.text.resize(size - from);
  const ssize_t got = pread(fd.get(), piece.text.data(), piece.text.size(), static_cast<off_t>(from));
  piece.text.resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  piece.end = from + piece.text.size();
  return piece;
}

std::vector<std::string> last_lines(const std::string& file) {
  Piece piece = read_behind(file, 0);
  if (piece.skipped) piece.text.erase(0, piece.text.find('\n') + 1);
  auto lines = text::lines(text::whole_lines(piece.text));
  if (lines.size() > most_lines) lines.erase(lines.begin(), lines.end() - most_lines);
  return lines;
}

}  // namespace

std::string build_state(const pipeline::Builder& builder, const tree::Tree& tree,
                        const reference::Reference& reference) {
  const Look look = look_at(builder, tree, reference, builder.job_of(reference));
  return json::object([&](json::Writer& writer) {
    write_state(writer, reference, look, true);
    if (look.state == State::building || look.state == State::failed)
      write_lines(writer, "log", last_lines(builder.log_of(reference)));
  });
}

BuildEvents::BuildEvents(const pipeline::Builder& builder, const tree::Tree& tree, reference::Reference reference)
    : builder_(builder), tree_(tree), reference_(std::move(reference)), log_(builder.log_of(reference_)) {}

std::string BuildEvents::new_lines() {
  Piece piece = read_behind(log_, read_);
  if (piece.end < read_) unfinished_line_ = {};
  std::vector<std::string> lines;
  if (piece.skipped) {
    lines.emplace_back("…");
    unfinished_line_ = {};
    piece.text.erase(0, piece.text.find('\n') + 1);
  }
  read_ = piece.end;
  unfinished_line_.add(piece.text, [&](std::string_view line) { lines.emplace_back(line); });
  if (unfinished_line_.rest().size() > longest_line) lines.push_back(unfinished_line_.take_rest());
  if (lines.empty()) return {};
  return event("log", json::object([&](json::Writer& writer) { write_lines(writer, "lines", lines); }));
}

std::optional<std::string> BuildEvents::next() {
  if (over_) return std::nullopt;
  if (!job_) job_ = builder_.job_of(reference_);
  Look look = look_at(builder_, tree_, reference_, job_);
  // An earlier failure without a running build is not the end: it is about to be retried.
  if (look.state == State::failed && !job_ && !began_) look = {};
  began_ = began_ || look.state == State::building || look.state == State::queued;

  std::string events;
  const std::string state = json::object([&](json::Writer& writer) { write_state(writer, reference_, look, false); });
  if (state != told_)
    events += event("state", json::object([&](json::Writer& writer) { write_state(writer, reference_, look, true); }));
  told_ = state;
  // If the image is not being built, its log is that of an earlier build.
  const bool just_failed = look.state == State::failed && job_;
  if (look.state == State::building || just_failed || (began_ && look.state != State::queued)) events += new_lines();
  over_ = look.state == State::built || look.state == State::failed;
  if (look.state == State::built)
    events +=
        event("built", json::object([&](json::Writer& writer) { json::member(writer, "digest", look.digest->str()); }));
  if (look.state == State::failed) {
    events += event("failed", json::object([&](json::Writer& writer) {
                      json::member(writer, "failure", look.failure);
                      json::member(writer, "message", look.message);
                    }));
  }
  return events;
}

}  // namespace nixery::web
