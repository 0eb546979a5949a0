"""Opt-out: which words of a recipient's mean "no more messages" and "messages again". Pure; keeps no text."""

#: What people write who want no more messages, in the languages of those who are written to most.
STOP_WORDS: tuple[str, ...] = (
    *("stop", "stop all", "stopall", "unsubscribe", "opt out", "optout", "cancel", "end", "quit"),  # English
    *("रोकें", "रोको", "बंद करो", "बंद करें", "band karo", "रुको"),  # Hindi
    *("நிறுத்து", "ఆపు", "ನಿಲ್ಲಿಸಿ", "നിർത്തുക", "বন্ধ করুন", "થંભો", "બંધ કરો", "थांबा", "ਬੰਦ ਕਰੋ"),
    *("توقف", "إيقاف", "الغاء", "إلغاء", "بند کریں"),  # Arabic, Urdu
    *("parar", "pare", "sair", "cancelar", "baja", "alto", "detener", "no más"),  # Portuguese, Spanish
    *("arrêt", "arret", "arrêter", "desabonner", "désabonner", "stopp", "abmelden"),  # French, German
    *("berhenti", "стоп", "отписаться", "停止", "退订"),  # Indonesian, Russian, Chinese
)
#: And those who want them again.
START_WORDS: tuple[str, ...] = (
    *("start", "unstop", "subscribe", "resume", "opt in", "optin"),
    *("शुरू", "शुरू करें", "चालू करें", "shuru"),
    *("ابدأ", "ابدا", "استئناف", "شروع"),
    *("iniciar", "comenzar", "alta", "começar", "voltar", "commencer", "reprendre", "anmelden"),
    *("mulai", "старт", "начать", "开始"),
)
