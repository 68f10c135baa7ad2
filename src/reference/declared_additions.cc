#include <fmt/format.h>

#include <algorithm>

#include "reference/accounts.h"
#include "reference/declared_fields.h"
#include "reference/declared_reader.h"
#include "text/number.h"
#include "text/plain_text.h"

namespace nixery::reference {

namespace {

using json::Value;

class AdditionsReader {
 public:
  AdditionsReader(FieldReader& reader, Accounts& accounts) : reader_(reader), accounts_(accounts) {}

  RootAdditions read(const Value& root);

 private:
  // Calls `read(where, object)` for each object of the list `field`.
  template <typename Read>
  void each(const Value& root, const char* field, std::size_t most, const std::vector<std::string>& known, Read&& read);

  void user(const std::string& where, const Value& value);
  void directory(const std::string& where, const Value& value);
  void file(const std::string& where, const Value& value);
  std::string path(const std::string& where, const Value& value, const char* field);
  void owner(const std::string& where, const Value& value, Owner& owner);
  void mode(const std::string& where, const Value& value, std::uint32_t& mode);
  void check_paths();

  FieldReader& reader_;
  Accounts& accounts_;
  RootAdditions additions_;
};

template <typename Read>
void AdditionsReader::each(const Value& root, const char* field, std::size_t most,
                           const std::vector<std::string>& known, Read&& read) {
  const Value* list = json::find(root, field);
  if (!list) return;
  if (!list->IsArray()) return reader_.wrong_kind(field, *list, "a list of objects");
  if (list->Size() > most)
    return reader_.refuse(field, fmt::format("{} entries; at most {} are allowed", list->Size(), most));
  for (rapidjson::SizeType i = 0; i < list->Size(); ++i) {
    const std::string where = fmt::format("{}[{}]", field, i);
    const Value& value = (*list)[i];
    if (!reader_.is_object(value, where, fmt::format("an object with the field '{}'", known.front()))) continue;
    reader_.check_fields(value, where, known);
    read(where, value);
  }
}

std::string AdditionsReader::path(const std::string& where, const Value& value, const char* field) {
  const Value* given = json::find(value, field);
  if (!given) {
    reader_.refuse(where, fmt::format("the field '{}' is missing: an absolute path in the image", field));
    return {};
  }
  const std::string here = fmt::format("{}.{}", where, field);
  auto text = reader_.text(*given, here, "an absolute path in the image");
  if (!text) return {};
  if (const auto problem = problem_of_image_path(*text)) {
    reader_.refuse(here, *problem);
    return {};
  }
  return *std::move(text);
}

void AdditionsReader::owner(const std::string& where, const Value& value, Owner& owner) {
  const Value* given = json::find(value, "owner");
  if (!given) return;
  const auto text = reader_.text(*given, where + ".owner", "a user, such as \"nobody\" or \"101:101\"");
  if (!text) return;
  std::string problem;
  if (const auto found = accounts_.find(*text, problem))
    owner = found->owner;
  else
    reader_.refuse(where + ".owner", problem);
}

void AdditionsReader::mode(const std::string& where, const Value& value, std::uint32_t& mode) {
  const Value* given = json::find(value, "mode");
  if (!given) return;
  const auto text = reader_.text(*given, where + ".mode", "an octal number in quotes, such as \"0750\"");
  if (!text) return;
  const auto bits = text::number<std::uint32_t>(*text, 8);
  if (!bits || text->size() < 3 || text->size() > 4)
    reader_.refuse(where + ".mode", fmt::format("{} is not a mode: give three or four octal digits, such as \"0750\"",
                                                text::in_quotes(*text)));
  else
    mode = *bits;
}

void AdditionsReader::user(const std::string& where, const Value& value) {
  DeclaredUser user;
  const Value* name = json::find(value, "name");
  const Value* uid = json::find(value, "uid");
  if (!name) return reader_.refuse(where, "the field 'name' is missing: the user's name");
  if (!uid) return reader_.refuse(where, "the field 'uid' is missing: the user's number");
  const auto given_name = reader_.text(*name, where + ".name", "the user's name");
  const auto given_uid = reader_.number(*uid, where + ".uid", 0, max_account_id);
  if (!given_name || !given_uid) return;
  if (!is_account_name(*given_name))
    return reader_.refuse(
        where + ".name", fmt::format("{} is not a user's name: at most 32 lower-case letters, digits, '_' and '-', not "
                                     "starting with a digit or '-'",
                                     text::in_quotes(*given_name)));
  user.name = *given_name;
  user.uid = user.gid = *given_uid;
  if (const Value* gid = json::find(value, "gid"))
    user.gid = reader_.number(*gid, where + ".gid", 0, max_account_id).value_or(user.gid);
  user.home = json::find(value, "home") ? path(where, value, "home") : "/home/" + user.name;
  if (json::find(value, "shell")) user.shell = path(where, value, "shell");
  // These are the separators of /etc/passwd; control characters are refused in every path.
  for (const auto& [field, text] : {std::pair{".home", user.home}, std::pair{".shell", user.shell}})
    if (text.find(':') != text.npos) reader_.refuse(where + field, "a ':' is not allowed in /etc/passwd");
  if (const auto problem = accounts_.add(user))
    reader_.refuse(where, *problem);
  else
    additions_.users.push_back(std::move(user));
}

void AdditionsReader::directory(const std::string& where, const Value& value) {
  DeclaredDirectory directory;
  directory.path = path(where, value, "path");
  owner(where, value, directory.owner);
  mode(where, value, directory.mode);
  additions_.directories.push_back(std::move(directory));
}

void AdditionsReader::file(const std::string& where, const Value& value) {
  DeclaredFile file;
  file.path = path(where, value, "path");
  for (const char* accounts : {"/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow"})
    if (file.path == accounts) reader_.refuse(where + ".path", "the image writes this file: give 'users'");
  if (const Value* content = json::find(value, "content"))
    file.content = reader_.text(*content, where + ".content", "the file's text", max_file_content).value_or("");
  else
    reader_.refuse(where, "the field 'content' is missing: the file's text");
  owner(where, value, file.owner);
  mode(where, value, file.mode);
  additions_.files.push_back(std::move(file));
}

// Refuses paths that are given twice, and files that others lie in. Ascending by path, a path follows its parents.
void AdditionsReader::check_paths() {
  std::vector<std::pair<std::string, bool>> paths;  // and whether it is a file
  for (const auto& each : additions_.directories) paths.emplace_back(each.path, false);
  for (const auto& each : additions_.files) paths.emplace_back(each.path, true);
  std::erase_if(paths, [](const auto& each) { return each.first.empty(); });
  std::sort(paths.begin(), paths.end());
  for (std::size_t i = 1; i < paths.size(); ++i)
    if (paths[i].first == paths[i - 1].first)
      reader_.refuse("",
                     fmt::format("{} is given twice in 'directories' and 'files'", text::in_quotes(paths[i].first)));
  for (const auto& [path, is_file] : paths) {
    for (auto slash = path.rfind('/'); slash != 0 && slash != path.npos; slash = path.rfind('/', slash - 1))
      if (std::binary_search(paths.begin(), paths.end(), std::pair{path.substr(0, slash), true}))
        reader_.refuse("files", fmt::format("{} is a file and cannot hold {}", text::in_quotes(path.substr(0, slash)),
                                            text::in_quotes(path)));
  }
}

RootAdditions AdditionsReader::read(const Value& root) {
  each(root, "users", max_users, {"name", "uid", "gid", "home", "shell"},
       [&](const std::string& where, const Value& value) { user(where, value); });
  each(root, "directories", max_directories, {"path", "owner", "mode"},
       [&](const std::string& where, const Value& value) { directory(where, value); });
  each(root, "files", max_files, {"path", "content", "mode", "owner"},
       [&](const std::string& where, const Value& value) { file(where, value); });
  check_paths();
  std::ranges::sort(additions_.users, {}, &DeclaredUser::uid);
  std::ranges::sort(additions_.directories, {}, &DeclaredDirectory::path);
  std::ranges::sort(additions_.files, {}, &DeclaredFile::path);
  return std::move(additions_);
}

void write_owner(json::Writer& writer, const Owner& owner, std::uint32_t mode) {
  json::member(writer, "uid", std::uint64_t{owner.uid});
  json::member(writer, "gid", std::uint64_t{owner.gid});
  json::member(writer, "mode", std::uint64_t{mode});
}

template <typename Items, typename Write>
void write_list(json::Writer& writer, std::string_view key, const Items& items, Write&& write) {
  if (items.empty()) return;
  json::key(writer, key);
  writer.StartArray();
  for (const auto& item : items) {
    writer.StartObject();
    write(item);
    writer.EndObject();
  }
  writer.EndArray();
}

}  // namespace

RootAdditions read_additions(FieldReader& reader, const Value& root, Accounts& accounts) {
  return AdditionsReader(reader, accounts).read(root);
}

void write_additions(json::Writer& writer, const RootAdditions& additions) {
  write_list(writer, "users", additions.users, [&](const DeclaredUser& user) {
    json::member(writer, "name", user.name);
    json::member(writer, "uid", std::uint64_t{user.uid});
    json::member(writer, "gid", std::uint64_t{user.gid});
    json::member(writer, "home", user.home);
    json::member(writer, "shell", user.shell);
  });
  write_list(writer, "directories", additions.directories, [&](const DeclaredDirectory& directory) {
    json::member(writer, "path", directory.path);
    write_owner(writer, directory.owner, directory.mode);
  });
  write_list(writer, "files", additions.files, [&](const DeclaredFile& file) {
    json::member(writer, "path", file.path);
    json::member(writer, "content", file.content);
    write_owner(writer, file.owner, file.mode);
  });
}

}  // namespace nixery::reference
