#include "os/process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>

#include "cause.h"
#include "error.h"
#include "os/fd.h"
#include "text/lines.h"

extern "C" {
#include <sys/pidfd.h>  // glibc 2.36 declares it without extern "C"
}

namespace nixery::os {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t error_tail_size = 64u << 10;
constexpr std::size_t longest_line = 64u << 10;
// How often a stop request is checked; nothing else depends on this.
constexpr std::chrono::milliseconds stop_poll{200};
// How long a child has to end after SIGTERM. In this time Nix removes its build directories, and git its locks.
constexpr std::chrono::milliseconds kill_after{3000};
// How long the pipes may stay open and silent after the child has ended.
constexpr std::chrono::milliseconds after_exit{1000};

struct Pipe {
  Fd read, write;
  Pipe() {
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0)
      throw Error(Failure::unavailable, fmt::format("cannot make a pipe: {}", std::strerror(errno)));
    read = Fd(fds[0]);
    write = Fd(fds[1]);
  }
};

// Environment and arguments for execvpe. Built before fork, because the child must not allocate.
class Words {
 public:
  void add(std::string word) { words_.push_back(std::move(word)); }
  char** data() {
    pointers_.clear();
    for (std::string& word : words_) pointers_.push_back(word.data());
    pointers_.push_back(nullptr);
    return pointers_.data();
  }

 private:
  std::vector<std::string> words_;
  std::vector<char*> pointers_;
};

// TRACEPARENT names the cause that the child works for, not ours. No child needs our settings: NIXERY_PKGS_REPO may
// hold a password, and Linux limits the size of the environment.
Words environment_of(const Command& command) {
  Words words;
  if (const auto& trace = current_cause().trace) words.add("TRACEPARENT=" + trace->str());
  for (char** entry = environ; *entry; ++entry) {
    const std::string_view text = *entry;
    const std::string name(text.substr(0, text.find('=')));
    if (!command.env.contains(name) && name != "TRACEPARENT" && !name.starts_with("NIXERY_"))
      words.add(std::string(text));
  }
  for (const auto& [name, value] : command.env)
    if (!value.empty()) words.add(name + "=" + value);
  return words;
}

[[noreturn]] void become_child(char** argv, char** env, int in, int out, int err, int failure, std::uint64_t memory) {
  setpgid(0, 0);
  dup2(in, STDIN_FILENO);
  dup2(out, STDOUT_FILENO);
  dup2(err, STDERR_FILENO);
  if (memory > 0) {
    const rlimit limit{memory, memory};
    setrlimit(RLIMIT_AS, &limit);
  }
  // This process may block signals and ignores SIGPIPE; a child must start with the defaults.
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  signal(SIGPIPE, SIG_DFL);
  execvpe(argv[0], argv, env);
  const int code = errno;
  [[maybe_unused]] const auto written = write(failure, &code, sizeof code);
  _exit(127);
}

// Passes on whole lines; a longer line is cut at longest_line.
class LineFeed {
 public:
  explicit LineFeed(const std::function<void(std::string_view)>& sink) : sink_(sink) {}

  void add(std::string_view bytes) {
    if (!sink_) return;
    lines_.add(bytes, sink_);
    if (lines_.rest().size() > longest_line) finish();
  }

  void finish() {
    if (!lines_.rest().empty()) sink_(lines_.take_rest());
  }

 private:
  const std::function<void(std::string_view)>& sink_;
  text::LineBuffer lines_;
};

void append_tail(std::string& tail, std::string_view bytes) {
  tail += bytes;
  if (tail.size() > 2 * error_tail_size) tail.erase(0, tail.size() - error_tail_size);
}

void set_nonblocking(int fd) {
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

// Reads the available bytes; false at the end of the stream.
template <typename Sink>
bool drain(int fd, Sink&& sink) {
  char buffer[65536];
  for (;;) {
    const ssize_t n = read(fd, buffer, sizeof buffer);
    if (n > 0) {
      sink(std::string_view(buffer, static_cast<std::size_t>(n)));
    } else if (n == 0) {
      return false;
    } else if (errno != EINTR) {
      return errno == EAGAIN;
    }
  }
}

// A child process. The destructor kills its group and reaps it, if that has not happened before.
class Child {
 public:
  explicit Child(pid_t pid) : pid_(pid) {}
  ~Child() {
    if (pid_ < 0) return;
    kill_group();
    reap();
  }
  // Opens a pidfd, which becomes readable when the child ends. Throws Error{unavailable}.
  void watch() {
    pidfd_ = Fd(pidfd_open(pid_, 0));
    if (!pidfd_) throw Error(Failure::unavailable, fmt::format("cannot watch a process: {}", std::strerror(errno)));
  }
  int pidfd() const { return pidfd_.get(); }
  // Only before the child is reaped: until then no other process group can have its number.
  void terminate_group() const { kill(-pid_, SIGTERM); }
  void kill_group() const { kill(-pid_, SIGKILL); }

  int reap() {
    int status = 0;
    while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    return status;
  }

 private:
  pid_t pid_;
  Fd pidfd_;
};

}  // namespace

std::string ProcessResult::describe() const {
  switch (end) {
    case End::exited: return fmt::format("exited with status {}", code);
    case End::signalled: return fmt::format("was killed by signal {} ({})", code, strsignal(code));
    case End::timed_out: return "ran longer than allowed and was stopped";
    case End::stopped: return "was stopped";
    case End::output_too_large: return "printed more than allowed and was stopped";
  }
  return {};
}

std::string to_string(const std::vector<std::string>& argv) {
  std::string text;
  for (const std::string& word : argv) {
    if (!text.empty()) text += ' ';
    text += word;
  }
  return text;
}

ProcessResult run(const Command& command) {
  Words argv, env = environment_of(command);
  for (const std::string& word : command.argv) argv.add(word);
  char** const argv_data = argv.data();
  char** const env_data = env.data();

  Pipe in, out, err, failure;
  const pid_t pid = fork();
  if (pid < 0) throw Error(Failure::unavailable, fmt::format("cannot start a process: {}", std::strerror(errno)));
  if (pid == 0)
    become_child(argv_data, env_data, in.read.get(), out.write.get(), err.write.get(), failure.write.get(),
                 command.memory_limit);
  setpgid(pid, pid);  // in parent and child, as either may run first
  Child child(pid);
  in.read.reset();
  out.write.reset();
  err.write.reset();
  failure.write.reset();
  child.watch();  // after closing the pipes' other ends, which may free the only descriptors left

  int exec_error = 0;
  ssize_t n;
  while ((n = read(failure.read.get(), &exec_error, sizeof exec_error)) < 0 && errno == EINTR) {
  }
  if (n > 0)
    throw Error(Failure::unavailable,
                fmt::format("cannot run {}: {}", command.argv.front(), std::strerror(exec_error)));

  for (const int fd : {in.write.get(), out.read.get(), err.read.get()}) set_nonblocking(fd);
  const auto deadline = command.limit ? Clock::now() + *command.limit : Clock::time_point::max();
  ProcessResult outcome;
  LineFeed lines(command.on_error_line);
  std::string_view input = command.input;
  if (input.empty()) in.write.reset();

  auto kill_at = Clock::time_point::max();
  const auto stop_for = [&](ProcessResult::End end) {
    outcome.end = end;
    child.terminate_group();
    kill_at = Clock::now() + kill_after;
  };
  bool exited = false;
  while (!exited || out.read || err.read) {
    if (!exited && outcome.end == ProcessResult::End::exited) {
      if (Clock::now() >= deadline) stop_for(ProcessResult::End::timed_out);
      if (command.stop.stop_requested()) stop_for(ProcessResult::End::stopped);
    }
    if (!exited && Clock::now() >= kill_at) {
      child.kill_group();
      kill_at = Clock::time_point::max();
    }
    std::chrono::milliseconds timeout{-1};
    if (exited) {
      timeout = after_exit;
    } else if (const auto next = outcome.end == ProcessResult::End::exited ? deadline : kill_at;
               next != Clock::time_point::max()) {
      timeout = std::chrono::ceil<std::chrono::milliseconds>(std::max(next - Clock::now(), Clock::duration{0}));
    }
    if (!exited && outcome.end == ProcessResult::End::exited && command.stop.stop_possible() &&
        (timeout.count() < 0 || timeout > stop_poll))
      timeout = stop_poll;

    pollfd polls[4] = {{out.read.get(), POLLIN, 0},
                       {err.read.get(), POLLIN, 0},
                       {in.write.get(), POLLOUT, 0},
                       {exited ? -1 : child.pidfd(), POLLIN, 0}};
    const int ready =
        poll(polls, 4, static_cast<int>(std::min<std::chrono::milliseconds::rep>(timeout.count(), INT_MAX)));
    if (ready == 0 && exited) break;  // a process outside the group holds the pipes; its output is not the child's
    if (ready <= 0) continue;

    if (polls[0].revents && !drain(out.read.get(), [&](std::string_view bytes) {
          if (outcome.output.size() + bytes.size() <= command.output_limit) {
            outcome.output += bytes;
          } else if (outcome.end == ProcessResult::End::exited) {
            stop_for(ProcessResult::End::output_too_large);
          }
        }))
      out.read.reset();
    if (polls[1].revents && !drain(err.read.get(), [&](std::string_view bytes) {
          append_tail(outcome.error_tail, bytes);
          lines.add(bytes);
        }))
      err.read.reset();
    if (polls[2].revents) {
      const ssize_t written = write(in.write.get(), input.data(), input.size());
      if (written > 0) input.remove_prefix(static_cast<std::size_t>(written));
      if (input.empty() || (written < 0 && errno != EAGAIN && errno != EINTR)) in.write.reset();
    }
    if (polls[3].revents) {
      exited = true;
      child.kill_group();  // its remaining descendants; the child's own status can still be read
    }
  }
  lines.finish();
  if (outcome.error_tail.size() > error_tail_size)
    outcome.error_tail.erase(0, outcome.error_tail.size() - error_tail_size);

  const int status = child.reap();
  if (outcome.end == ProcessResult::End::exited) {
    if (WIFSIGNALED(status)) {
      outcome.end = ProcessResult::End::signalled;
      outcome.code = WTERMSIG(status);
    } else {
      outcome.code = WEXITSTATUS(status);
    }
  }
  return outcome;
}

}  // namespace nixery::os
