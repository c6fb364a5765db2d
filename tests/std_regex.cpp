#include "std_regex.h"

#include <cctype>
#include <cstdio>
#include <regex>
#include <sstream>
#include <string>

int std_regex_finds(const char *pattern, const char *name) {
    try {
        return std::regex_search(std::string(name), std::regex(pattern)) ? 1 : 0;
    } catch (const std::regex_error &) {
        return -1;
    }
}

int std_type_file_entry(const char *text, const char *name, char *type, unsigned size) {
    std::istringstream words(text);
    std::string word;
    for (int entry = 0; words >> word; entry++) {
        const size_t sign = word.find('=');
        if (sign == std::string::npos || sign == 0 || sign + 1 == word.size()) return -2;
        std::string pattern = word.substr(0, sign);
        for (char &c : pattern) c = static_cast<char>(std::tolower(c));
        const int found = std_regex_finds(pattern.c_str(), name);
        if (found < 0) return -2;
        if (found) {
            std::snprintf(type, size, "%s", word.c_str() + sign + 1);
            return entry;
        }
    }
    return -1;
}
