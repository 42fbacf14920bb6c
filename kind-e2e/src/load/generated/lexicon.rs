//! Words to write documents with: the commonest of each language, so that its letters and their order are typical of
//! it.

/// A language to write in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// English.
    English,
    /// German.
    German,
    /// French.
    French,
    /// Russian.
    Russian,
    /// Japanese, which has no spaces between words.
    Japanese,
}

impl Language {
    /// Its code in ISO 639-3.
    pub fn code(self) -> &'static str {
        match self {
            Self::English => "eng",
            Self::German => "deu",
            Self::French => "fra",
            Self::Russian => "rus",
            Self::Japanese => "jpn",
        }
    }

    /// Its words, each a run of alphanumeric characters.
    pub(super) fn words(self) -> Vec<&'static str> {
        let list = match self {
            Self::English => ENGLISH,
            Self::German => GERMAN,
            Self::French => FRENCH,
            Self::Russian => RUSSIAN,
            Self::Japanese => JAPANESE,
        };
        list.split_whitespace().collect()
    }

    /// A sentence that every document begins with. Its letters tell its charset from others.
    pub(super) fn opening(self) -> &'static str {
        match self {
            Self::English => {
                "This text was written by a program so that its words are known before anybody reads them, and whoever \
                 finds other words than these has found something that the reader did not understand"
            }
            Self::German => {
                "Diesen Text schrieb ein Programm, damit geprüft wird, ob größere Bücher für Müller schön übrig bleiben"
            }
            Self::French => {
                "Ce texte a été écrit par un programme, car là où il était passé, le café fermé à Noël avait plu"
            }
            Self::Russian => {
                "Этот текст написала программа, чтобы его слова были известны до того, как их кто-нибудь прочитает"
            }
            Self::Japanese => {
                "この文章はプログラムによって書かれました。だれかが読むまえから、どのような言葉があるのかがわかっています"
            }
        }
    }
}

const ENGLISH: &str = "
    the of and to in that it is was for on are with as his they be at one have this from or had by hot word but what
    some we can out other were all there when up use your how said an each she which do their time if will way about
    many then them write would like so these her long make thing see him two has look more day could go come did
    number sound no most people my over know water than call first who may down side been now find any new work part
    take get place made live where after back little only round man year came show every good me give our under name
    very through just form sentence great think say help low line differ turn cause much mean before move right boy
    old too same tell does set three want air well also play small end put home read hand port large spell add even
    land here must big high such follow act why ask men change went light kind off need house picture try us again
    animal point mother world near build self earth father";

const GERMAN: &str = "
    der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an werden aus er hat dass
    sie nach wird bei einer um am sind noch wie einem über einen so zum war haben nur oder aber vor zur bis mehr durch
    man sein wurde sei Prozent hatte kann gegen vom können schon wenn habe seine Mark ihre dann unter wir soll ich
    eines Jahr zwei Jahren diese dieser wieder keine Uhr seiner worden will zwischen immer Millionen was sagte gibt
    alle würde kein größer möglich während später müssen früher natürlich Straße Häuser Bücher schließlich hören
    Mädchen König Größe Fluß Frühling völlig dafür Länder gehören öffnen Schlüssel Wörter Tür schön böse fünf zwölf
    hundert Sommer Winter Regen Arbeit Schule Kinder Freund Leben Zeit Wasser Himmel Erde Feuer Wald Berg Stadt Dorf
    Weg Brücke Garten Tisch Fenster Blume Vogel Katze Hund Pferd Kuh Schaf Brot";

const FRENCH: &str = "
    le de un être et à il avoir ne je son que se qui ce dans en du elle au pour pas vous par sur faire plus dire me on
    mon lui nous comme mais pouvoir avec tout y aller voir bien où sans tu ou leur homme si deux mari moi vouloir te
    femme venir quand grand celui notre devoir là jour prendre même votre rien petit encore aussi quelque dont tout
    mer trouver donner temps ça peu falloir sous parler alors main chose ton mettre vie savoir yeux passer autre après
    regarder toujours puis jamais cela aimer non heure croire cent monde donc enfant fois seul entre vers chez
    demander jeune jusque très moment rester répondre tête père fille mille premier car entendre ni bon trois coeur
    ainsi quatre un terre contre dieu monsieur voix penser quel arriver maison devant coup beau connaître devenir air
    mot nuit sentir eau vieux sembler moins tenir ici comprendre oui rendre toi attendre sortir ami trop porte lequel
    chaque amour pendant déjà pied tant gens parce nom vivre reprendre entrer porter pays ciel avant frère regard
    chercher âme côté mort revenir noir";

const RUSSIAN: &str = "
    и в не на я быть он с что а по это она этот к но они мы весь который из у то за свой весь год от так о для ты же
    все тот мочь вы человек такой его сказать только или ещё бы себя один как уже до время если сам когда другой вот
    говорить наш мой знать стать при чтобы дело жизнь кто первый очень два день её новый рука даже во со раз где там
    под можно ну какой после их работа без самый потом надо хотеть ли слово идти большой должен место иметь ничего то
    сейчас тут лицо каждый друг нет теперь ни глаз тоже тогда видеть вопрос через да здесь дом да потому сторона какой
    думать сделать страна жить чем мир об последний случай голова более делать что кто смотреть ребёнок просто конечно
    сила российский конец перед несколько вид система всегда работать между три понять пойти часть спросить город дать
    также никто понимать получить отношение лишь второй именно ваш хотя ни сидеть над женщина оказаться русский один
    взять прийти являться деньги почему вдруг любить стоить почти земля общий";

const JAPANESE: &str = "
    わたしは あなたの これを それが あれから ここに そこで どこへ だれも なにか いつも きのう きょうは あしたの
    時間を 言葉が 学校に 先生は 友達と 家族の 電車で 会社へ 仕事を 休みに 天気が 海の 山から 川を 空に 花が
    鳥の 犬は 猫と 本を 読みます 書きました 話して 聞いている 見える 行きたい 来ました 帰ります 食べて 飲んだ
    買いました 売っている 作ります 使って 思います 考えた 知っている 分かりました 教えて 習います 始まる
    終わりました 続けて とても すこし たくさん ほんとうに もちろん やはり しかし だから そして または ですから
    テレビを パソコンで コーヒーが レストランに ホテルの ニュースは プログラムを データが ページの";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_a_run_of_letters() {
        for language in [Language::English, Language::German, Language::French, Language::Russian, Language::Japanese] {
            let words = language.words();
            assert!(words.len() > 70, "{language:?} has {}", words.len());
            for word in words {
                assert!(word.chars().all(char::is_alphanumeric), "{word}");
            }
        }
    }
}
